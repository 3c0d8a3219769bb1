"""Everything that is measured on one GPU, in minutes; see `__main__.py`."""
