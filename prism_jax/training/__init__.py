"""Training programs, one folder each, and their common training loop (`prism_jax.training.loop`)."""
