"""Foreign weight files <-> the networks of `prism_jax.models`."""
