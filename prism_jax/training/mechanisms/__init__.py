"""Training of the attribute mechanisms of a causal model."""
