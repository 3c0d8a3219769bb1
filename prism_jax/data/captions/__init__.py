"""Captions from attributes, and the language of edit instructions."""
