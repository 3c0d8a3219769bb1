"""Editors and structural causal models side by side, on the same subjects, edits and judges."""
