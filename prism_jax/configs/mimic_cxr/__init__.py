"""Configurations for MIMIC-CXR-JPG."""
