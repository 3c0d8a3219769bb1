"""Evaluation programs, one folder each, and what they share."""
