"""The VAE agrees with diffusers at square and other sizes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.models.autoencoder import AutoencoderConfig, AutoencoderKL
from tests import tiny_configs
from tests.conftest import relative_distance, untrained


@pytest.fixture(scope="module")
def tiny() -> AutoencoderKL:
    return untrained(AutoencoderKL, tiny_configs.autoencoder())


@jax.jit
def encode(vae, images):
    return vae.encode(images)


@jax.jit
def decode(vae, z):
    return vae.decode(z)


def test_a_batch_gives_what_one_by_one_gives(tiny):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 24, 3)), jnp.float32)
    both, alone = encode(tiny, images), encode(tiny, images[1:])
    assert both[0].shape == (2, 2, 3, 4)
    np.testing.assert_allclose(both[0][1:], alone[0], atol=1e-5)
    np.testing.assert_allclose(both[1][1:], alone[1], atol=1e-5)


def test_half_precision_computes_with_and_returns_float32(tiny):
    half = untrained(AutoencoderKL, dataclasses.replace(tiny_configs.autoencoder(), dtype=jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype(jnp.float32)}
    z = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 2, 4)), jnp.float32)
    images = decode(half, z)
    assert images.dtype == jnp.float32
    assert 1e-4 < relative_distance(images, decode(tiny, z)) < 0.1
    assert all(moment.dtype == jnp.float32 for moment in jax.eval_shape(half.encode, images))


def test_sizes_that_do_not_divide_are_refused_with_those_that_do(tiny):
    with pytest.raises(ValueError, match=r"an image side of 100 pixels is not divisible .* factor 8; use 96 or 104"):
        tiny.encode(jnp.zeros((1, 64, 100, 3)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("act_fn", "gelu"),
        ("down_block_types", ["AttnDownEncoderBlock2D"] * 4),
        ("latents_mean", [0.0]),
        ("use_quant_conv", False),
    ],
)
def test_configs_are_read_back_as_written_and_other_networks_refused(name, value):
    written = tiny_configs.autoencoder().to_dict()
    assert AutoencoderConfig.from_dict(written) == tiny_configs.autoencoder()
    with pytest.raises(ValueError, match=rf"vae config: {name} = .* is not supported; it must be"):
        AutoencoderConfig.from_dict(written | {name: value})
