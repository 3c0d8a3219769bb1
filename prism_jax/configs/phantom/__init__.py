"""Configurations for the built-in phantom."""
