"""The audit: effects and side effects of edits, cell by cell, and their report."""
