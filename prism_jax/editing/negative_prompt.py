"""Negative-prompt inversion (Miyake et al. 2023, arXiv 2305.16807): the prompt in place of the empty one, untuned."""

import jax
import jax.numpy as jnp


def embedding(context: jax.Array, null: jax.Array, interpolation: jax.Array) -> jax.Array:
    """The null embedding `[b, k, d]` that null-text tuning would find if the estimates along an inversion agreed.

    `interpolation` [] turns from `context` (0, the paper: guidance then changes nothing in the source) to `null` (1),
    both [b, k, d], along the arc between them (slerp over all their entries).
    """
    unit = lambda x: x / jnp.linalg.norm(x, axis=(1, 2), keepdims=True)
    cosine = jnp.sum(unit(context) * unit(null), axis=(1, 2), keepdims=True)
    angle = jnp.maximum(jnp.arccos(jnp.clip(cosine, -1, 1)), 1e-4)  # [b, 1, 1]; below, the arc is a line
    weights = jnp.sin((1 - interpolation) * angle), jnp.sin(interpolation * angle)
    return jnp.where(interpolation > 0, (weights[0] * context + weights[1] * null) / jnp.sin(angle), context)
