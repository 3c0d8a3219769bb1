"""Negative-prompt inversion: the embedding on the arc from the prompt to the empty prompt."""

import jax.numpy as jnp
import numpy as np

from prism_jax.editing import negative_prompt

DRAWN = np.random.default_rng(0).normal(size=(2, 2, 5, 3)).astype(np.float32)


def test_the_arc_runs_from_the_prompt_to_the_empty_one():
    context, null = DRAWN
    ends = [negative_prompt.embedding(context, null, jnp.float32(share)) for share in (0.0, 1.0)]
    np.testing.assert_array_equal(ends[0], context)
    np.testing.assert_allclose(ends[1], null, atol=1e-5)
    half = negative_prompt.embedding(context, context, jnp.float32(0.5))
    np.testing.assert_allclose(half, context, rtol=1e-4)  # no arc at all
