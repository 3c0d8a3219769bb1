"""Configurations that ship with the package: `<data set>/<program>[_variant].py`."""
