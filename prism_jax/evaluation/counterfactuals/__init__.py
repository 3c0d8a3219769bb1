"""Counterfactuals of a cohort: inversion, edits, measurements, report."""
