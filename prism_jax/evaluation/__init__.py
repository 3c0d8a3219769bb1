"""Evaluation programs, one folder each, and their common modules."""
