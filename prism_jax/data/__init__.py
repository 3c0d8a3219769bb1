"""Data: the example schema, captions, builders, image transforms and the Grain pipeline."""
