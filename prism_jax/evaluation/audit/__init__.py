"""The audit: what edits take along, cell by cell, and the page that says so."""
