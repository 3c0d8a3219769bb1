"""Comparison of inversion methods on the same images and edits."""
