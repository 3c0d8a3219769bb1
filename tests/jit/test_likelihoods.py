"""Likelihoods of pixels are probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.models.hvae_heads import GaussianHead, Pixels
from prism_jax.scm import likelihoods

SIZE = dict(encoder="8b1d8,1b1", decoder="1b1,8b1", widths=(3, 8), bottleneck=1)
GREY = (np.arange(256, dtype=np.float32) - 127.5) / 127.5

# Compiled whole: one by one the operations of every shape take many times as long.
discretised_gaussian, logistic_mixture = (
    jax.jit(likelihoods.discretised_gaussian),
    jax.jit(likelihoods.logistic_mixture),
)


def test_the_grey_levels_of_a_discretised_gaussian_have_probability_one():
    x, loc, log_scale = GREY[:, None], jnp.array([[-1.0, 0.2, 0.97]]), jnp.array([[-3.0, -1.0, 0.5]])
    log_prob = jax.vmap(lambda v: discretised_gaussian(v, loc[0], log_scale[0]))(x)
    np.testing.assert_allclose(jnp.exp(log_prob).sum(0), 1, atol=1e-4)


def test_the_red_levels_of_a_mixture_have_probability_one():
    """Of one component whose green and blue do not depend on red; their bins' share is the other two factors."""
    parameters = jnp.array([0.0, *[0.3, -1.0, 0.0], *[0.0, -7.0, 0.0] * 2])
    x = jnp.zeros((256, 1, 1, 3)).at[..., 0].set(GREY[:, None, None])
    log_prob = logistic_mixture(x, jnp.broadcast_to(parameters, (256, 1, 1, 10)))
    share = np.tanh(likelihoods.HALF_BIN * np.exp(7.0) / 2)
    np.testing.assert_allclose(jnp.exp(log_prob).sum(), share**2, rtol=1e-4)


@pytest.mark.parametrize("scale", ["fixed", "shared", "diagonal"])
def test_scales_start_where_the_configuration_says(scale):
    head = GaussianHead(HVAEConfig(**SIZE, scale=scale, scale_init=0.5), rngs=nnx.Rngs(0))
    found = head(jnp.ones((1, 8, 8, 3)))
    np.testing.assert_allclose(found.log_scale, -0.6931471824645996, rtol=1e-6)
    trained = {path[0] for path, _ in nnx.to_flat_state(nnx.state(head, nnx.Param))}
    assert ("log_scale" in trained) == (scale != "fixed")


def test_pixels_without_coefficients_are_not_mixed():
    pixels = Pixels(loc=jnp.full((1, 1, 1, 1), 1.5), log_scale=jnp.zeros((1, 1, 1, 1)))
    assert likelihoods.mixed(pixels) is pixels.loc
