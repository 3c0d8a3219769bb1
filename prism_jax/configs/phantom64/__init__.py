"""Configurations for the built-in phantom at 64 pixels."""
