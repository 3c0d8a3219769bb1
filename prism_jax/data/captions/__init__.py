"""Captions made from attributes, and the language in which edits are asked for."""
