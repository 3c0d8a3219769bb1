"""Noise of discrete attributes: its posterior agrees with what was observed, always, and is the right one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from prism_jax.scm import gumbel, perceptron
from prism_jax.scm.gumbel import GumbelMax
from prism_jax.scm.perceptron import PerceptronConfig

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


@pytest.mark.shared
def test_posterior_and_logits_agree_with_the_trace(reference):
    trace = load_file(reference / "scm" / "traces" / "pgm_chest.safetensors")
    stem = "params/finding_transform_GumbelMax.context_nn.layers"
    layers = tuple(
        {"kernel": jnp.asarray(trace[f"{stem}.{i}.weight"].T), "bias": jnp.asarray(trace[f"{stem}.{i}.bias"])}
        for i in range(3)
    )
    config = PerceptronConfig(hidden=(8, 16), activation="sigmoid")
    mechanism = GumbelMax(logits=config)
    logits = perceptron.apply(config, layers, jnp.asarray(trace["in/obs/age"]))
    np.testing.assert_allclose(logits, trace["out/finding_logits"], rtol=3e-4, atol=1e-6)
    observed = jnp.asarray(trace["in/obs/finding"][:, 0], jnp.int32)
    noise = gumbel.posterior(logits, observed, -jnp.log(-jnp.log(jnp.asarray(trace["in/u_gumbel"]))))
    np.testing.assert_allclose(noise, trace["out/gumbel_exact/eps"], rtol=3e-4, atol=1e-5)
    for age, result in (("in/obs/age", "finding_null"), ("in/do/age", "finding_do_age")):
        replayed = mechanism.predict(layers, noise, jnp.asarray(trace[age]))
        np.testing.assert_array_equal(replayed, trace[f"out/gumbel_exact/{result}"][:, 0])
    likelihood = mechanism.log_prob(layers, observed, jnp.asarray(trace["in/obs/age"]))
    np.testing.assert_allclose(likelihood, trace["out/log_prob/finding"][:, 0], rtol=1e-3, atol=1e-6)
