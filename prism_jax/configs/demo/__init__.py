"""Configurations for the demo (`make demo`)."""
