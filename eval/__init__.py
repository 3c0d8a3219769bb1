"""Launchers of the evaluation programs for a checkout: `python -m eval.NAME` is `prism eval NAME`."""
