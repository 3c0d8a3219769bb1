"""Launchers of the training programs for a checkout: `python -m train.NAME` is `prism train NAME`."""
