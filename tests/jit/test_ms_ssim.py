import jax
import numpy as np
import pytest

from prism_jax.metrics.image import ssim
from prism_jax.metrics.ms_ssim import ms_ssim, scales_within
from tests.conftest import load_trace

PAIRS = {"a_b": ("img_a_u8", "img_b_u8"), "a_c": ("img_a_u8", "img_c_u8"), "rgb": ("img_rgb1_u8", "img_rgb2_u8")}


def test_ms_ssim_agrees_with_the_reference():
    trace = load_trace("15_metrics")

    def colour(name):  # grey thrice is what grey is
        image = trace.arrays[name].reshape(256, 256, -1).astype(np.float32) / 255
        return np.broadcast_to(image, (256, 256, 3))

    x, y = (np.stack([colour(pair[i]) for pair in PAIRS.values()]) for i in (0, 1))
    found = jax.jit(lambda x, y: ms_ssim(x, y, value_range=(0.0, 1.0)))(x, y)
    np.testing.assert_allclose(found, [trace.meta[f"msssim_{name}"] for name in PAIRS], atol=3e-6)


def test_one_scale_is_ssim_and_equal_images_are_perfect():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2, 24, 24, 1)).astype(np.float32)
    y = np.clip(x + rng.normal(0, 0.3, x.shape), -1, 1).astype(np.float32)
    found = jax.jit(lambda x, y: (ms_ssim(x, y, scales=1), ssim(x, y), ms_ssim(x, x, scales=2)))(x, y)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    np.testing.assert_allclose(found[2], 1.0, rtol=1e-6)


def test_too_many_scales_are_refused_with_the_number_that_fits():
    assert scales_within((1, 175, 300, 1)) == 4
    assert scales_within((1, 176, 176, 3)) == 5
    assert scales_within((1, 8, 8, 3)) == 0
    image = np.zeros((1, 128, 128, 1), np.float32)
    with pytest.raises(ValueError, match="128x128 are too small for 5 scales of MS-SSIM; use scales=4"):
        ms_ssim(image, image)
    with pytest.raises(ValueError, match="6 scales"):
        ms_ssim(image, image, scales=6)
