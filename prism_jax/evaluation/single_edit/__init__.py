"""Editing one image: its caption in the model's form, whether the edit succeeded, and the files that are written."""
