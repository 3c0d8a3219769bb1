"""Data: the example schema, captions, dataset builders, image transforms and the Grain pipeline."""
