"""Posterior Gumbel noise reproduces the observation and has the right distribution."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax.scm import gumbel

DRAWS = 1_000_000


@partial(jax.jit, static_argnums=(1, 2))
def gumbels(seed, classes, count=DRAWS):
    return jax.random.gumbel(jax.random.key(seed), (count, classes))


@jax.jit
def abducted(logits, observed, fresh):
    """Noise, and the class that it gives under the logits it was abducted with."""
    noise = gumbel.posterior(logits, observed, fresh)
    return noise, jnp.argmax(noise + logits, axis=1)


def test_a_million_draws_never_contradict_the_observation():
    logits = 4 * np.random.default_rng(0).normal(size=(DRAWS, 3)).astype(np.float32)
    observed = np.arange(DRAWS) % 3  # unlikely classes as often as likely ones
    noise, replayed = abducted(logits, observed, gumbels(2, 3))
    np.testing.assert_array_equal(replayed, observed)
    assert np.isfinite(noise).all()


def test_posterior_noise_of_observations_from_the_model_is_gumbel_again():
    logits = np.tile(np.float32([0.3, -1.2, 1.0]), (DRAWS, 1))
    observed = np.argmax(gumbels(0, 3) + logits, axis=1)
    noise = np.asarray(abducted(logits, observed, gumbels(1, 3))[0], np.float64)
    # Mean and variance of a Gumbel are 0.5772 and 1.6449; four standard errors at a million draws.
    np.testing.assert_allclose(noise.mean(0), 0.57722, atol=4 * 1.2825 / DRAWS**0.5)
    np.testing.assert_allclose(noise.var(0), 1.64493, atol=4 * 3.44 / DRAWS**0.5)
    np.testing.assert_allclose(np.corrcoef(noise.T)[np.triu_indices(3, 1)], 0, atol=4 / DRAWS**0.5)


def test_two_classes_flip_as_one_threshold_does():
    before, after = np.float32([0.0, 0.8, -40.0]), np.float32([0.0, -0.5, -40.0])  # the third never comes
    observed = np.arange(DRAWS) % 2
    noise, _ = abducted(np.tile(before, (DRAWS, 1)), observed, gumbels(3, 3))
    flipped = np.argmax(np.asarray(noise) + after, axis=1)
    p, q = (np.exp(logits[1]) / np.exp(logits).sum() for logits in (before, after))
    assert abs(flipped[observed == 1].mean() - q / p) < 4 * 0.5 / (DRAWS / 2) ** 0.5
    assert not flipped[observed == 0].any()  # less likely under the intervention: nobody gains it
