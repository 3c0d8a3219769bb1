"""Pixel likelihoods of the published code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from prism_jax.models.hvae_blocks import Gaussian
from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.models.hvae_heads import GaussianHead
from prism_jax.scm import likelihoods
from tests.conftest import channels_last
from tests.jit.test_likelihoods import SIZE, discretised_gaussian, logistic_mixture

VALUE, LIKELIHOOD = dict(rtol=3e-4, atol=3e-5), dict(rtol=1e-3, atol=1e-4)


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
