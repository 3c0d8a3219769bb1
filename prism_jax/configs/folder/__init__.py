"""Configurations for a folder of your own X-rays."""
