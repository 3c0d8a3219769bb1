"""Training programs, one folder each, and the loop they share (`prism_jax.training.loop`)."""
