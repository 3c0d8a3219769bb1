"""Configurations for the built-in phantom at 128 pixels."""
