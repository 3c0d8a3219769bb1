"""Programs that measure models."""
