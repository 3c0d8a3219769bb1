"""Configurations for CheXpert."""
