"""Configurations for the covid-cxr folder of X-rays."""
