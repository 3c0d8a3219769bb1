"""Likelihoods of pixels agree with the published code, and are probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from prism_jax.models.hvae_blocks import Gaussian
from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.models.hvae_heads import GaussianHead, Pixels
from prism_jax.scm import likelihoods
from tests.conftest import channels_last

VALUE, LIKELIHOOD = dict(rtol=3e-4, atol=3e-5), dict(rtol=1e-3, atol=1e-4)
SIZE = dict(encoder="8b1d8,1b1", decoder="1b1,8b1", widths=(3, 8), bottleneck=1)
GREY = (np.arange(256, dtype=np.float32) - 127.5) / 127.5

# Compiled whole: one by one the operations of every shape take many times as long.
discretised_gaussian, logistic_mixture = (
    jax.jit(likelihoods.discretised_gaussian),
    jax.jit(likelihoods.logistic_mixture),
)
logit_gaussian, mixed = jax.jit(likelihoods.logit_gaussian), jax.jit(likelihoods.mixed)
mixture_mean = jax.jit(likelihoods.mixture_mean, static_argnames="components")


@pytest.fixture(scope="module")
def trace(reference):
    return load_file(reference / "scm" / "traces" / "likelihoods.safetensors")


def pixels_of(trace, case, channels_are_last=False):
    x = (trace[f"{case}/in/x_uint8"].astype(np.float32) - 127.5) / 127.5
    return jnp.asarray(x) if channels_are_last else channels_last(x)


def head_of(trace, case, **options):
    """What the head with the trace's weights says of its state."""
    channels = trace[f"{case}/params/x_loc.bias"].shape[0]
    head = GaussianHead(HVAEConfig(**SIZE, channels=channels, **options), rngs=nnx.Rngs(0))
    for ours, theirs in {"loc": "x_loc", "log_scale": "x_logscale", "coefficients": "channel_coeffs"}.items():
        if getattr(head, ours) is not None:
            module = getattr(head, ours)
            module.kernel[...] = trace[f"{case}/params/{theirs}.weight"].transpose(2, 3, 1, 0)
            module.bias[...] = trace[f"{case}/params/{theirs}.bias"]
    return head


def test_a_discretised_gaussian_of_one_channel_agrees_with_the_reference(trace):
    head, x, h = head_of(trace, "dgauss1"), pixels_of(trace, "dgauss1"), channels_last(trace["dgauss1/in/h"])
    head.log_scale.bias[...] = jnp.full(1, -1.5)  # the file keeps the one of the floor's case, -14
    found = head(h)
    np.testing.assert_allclose(found.loc, channels_last(trace["dgauss1/out/loc"]), **VALUE)
    np.testing.assert_allclose(found.log_scale, channels_last(trace["dgauss1/out/logscale"]), **VALUE)
    log_prob = discretised_gaussian(x, mixed(found, x), found.log_scale)
    np.testing.assert_allclose(log_prob, channels_last(trace["dgauss1/out/log_prob_map"]), **LIKELIHOOD)
    np.testing.assert_allclose(-log_prob.mean((1, 2, 3)), trace["dgauss1/out/nll_per_sample"], **LIKELIHOOD)


def test_scales_have_a_floor(trace):
    head, x, h = head_of(trace, "dgauss1"), pixels_of(trace, "dgauss1"), channels_last(trace["dgauss1/in/h"])
    head.log_scale.bias[...] = jnp.full(1, -14.0)
    found = head(h)
    np.testing.assert_allclose(
        jnp.exp(found.log_scale), channels_last(trace["dgauss1/out/sample_scale_floor"]), rtol=3e-4
    )
    nll = -discretised_gaussian(x, found.loc, found.log_scale).mean((1, 2, 3))
    np.testing.assert_allclose(nll, trace["dgauss1/out/nll_floor_bias-14"], **LIKELIHOOD)


def test_colours_are_mixed_as_observed_in_training_and_as_predicted_in_use(trace):
    head, x, h = head_of(trace, "dgauss3"), pixels_of(trace, "dgauss3"), channels_last(trace["dgauss3/in/h"])
    found = head(h)
    observed = mixed(found, x)
    np.testing.assert_allclose(observed, channels_last(trace["dgauss3/out/loc_train"]), **VALUE)
    np.testing.assert_allclose(mixed(found), channels_last(trace["dgauss3/out/loc_infer"]), **VALUE)
    np.testing.assert_allclose(found.log_scale, channels_last(trace["dgauss3/out/logscale"]), **VALUE)
    nll = -discretised_gaussian(x, observed, found.log_scale).mean((1, 2, 3))
    np.testing.assert_allclose(nll, trace["dgauss3/out/nll_per_sample"], **LIKELIHOOD)


def test_a_gaussian_of_the_logit_agrees_with_the_reference(trace):
    head, x = head_of(trace, "logitgauss"), pixels_of(trace, "logitgauss")
    found = head(channels_last(trace["logitgauss/in/h"]))
    uniform = channels_last(trace["logitgauss/in/u_dequant"])
    nll = -logit_gaussian(x, uniform, found.loc, found.log_scale).mean((1, 2, 3))
    np.testing.assert_allclose(nll, trace["logitgauss/out/nll_per_sample"], **LIKELIHOOD)
    expected = channels_last(trace["logitgauss/out/sample_loc"])
    np.testing.assert_allclose(jnp.clip(likelihoods.of_logit(found.loc), -1, 1), expected, **VALUE)


@pytest.mark.parametrize("case", ["dmol10", "dmol4", "dmol_ext"])
def test_a_mixture_of_logistics_agrees_with_the_reference(case, trace):
    x, parameters = pixels_of(trace, case, channels_are_last=True), jnp.asarray(trace[f"{case}/in/l"])
    nll = -logistic_mixture(x, parameters).mean((1, 2)) / 3
    np.testing.assert_allclose(nll, trace[f"{case}/out/nll_per_sample"], **LIKELIHOOD)


@pytest.mark.parametrize("case", ["dmol10", "dmol4"])
def test_point_estimates_of_a_mixture_agree_with_the_reference(case, trace):
    parameters = jnp.asarray(trace[f"{case}/in/l"])
    for name, components in {"soft": None, "hard": 1, "top3": 3}.items():
        mean, scale = mixture_mean(parameters, components=components)
        np.testing.assert_allclose(mean, trace[f"{case}/out/mean_{name}"], **VALUE)
        np.testing.assert_allclose(scale, trace[f"{case}/out/scale_{name}"], **VALUE)


def test_the_divergence_of_gaussians_agrees_with_the_reference(trace):
    of = lambda name: Gaussian(loc=trace[f"kl/in/{name}_loc"], log_scale=trace[f"kl/in/{name}_logscale"])
    np.testing.assert_allclose(likelihoods.gaussian_kl(of("q"), of("p")), trace["kl/out/kl"], rtol=1e-3, atol=1e-5)


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
