"""Grey levels and the network range: exactly inverse for NumPy and JAX, whose last bits may differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import pixels

BYTES = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize("of", [np.asarray, jnp.asarray])
def test_grey_levels_survive_the_way_to_the_network_range_and_back(of):
    images = pixels.from_uint8(of(BYTES))
    assert (images.dtype, float(images.min()), float(images.max())) == (np.float32, -1, 1)
    np.testing.assert_allclose(np.asarray(images), BYTES / 127.5 - 1, rtol=0, atol=2e-7)
    back = pixels.to_uint8(images)
    assert type(back) is type(images)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(back), BYTES)


def test_values_outside_the_range_are_clipped_and_halves_rounded_to_even():
    images = np.float32([-2, -1, 0, 1, 2])
    np.testing.assert_array_equal(pixels.to_uint8(images), [0, 0, 128, 255, 255])
    np.testing.assert_array_equal(pixels.grey_levels(jnp.asarray(images)), np.float32([0, 0, 128, 255, 255]))


def test_numpy_jax_and_a_compiled_program_round_alike():
    images = np.random.default_rng(0).uniform(-1.1, 1.1, (8, 64, 64)).astype(np.float32)
    for converted in (pixels.to_uint8(jnp.asarray(images)), jax.jit(pixels.to_uint8)(images)):
        apart = np.abs(pixels.to_uint8(images).astype(int) - np.asarray(converted))
        assert apart.max() <= 1  # halfway between two levels, the last bit decides
        assert apart.mean() < 1e-3


def test_grey_becomes_three_channels_that_are_alike():
    images = pixels.rgb_from_uint8(BYTES[None])
    assert images.shape == (1, 16, 16, 3)
    np.testing.assert_array_equal(images, np.repeat(pixels.from_uint8(BYTES)[None, ..., None], 3, axis=-1))
