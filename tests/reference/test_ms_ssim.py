"""MS-SSIM of the reference implementation."""

import jax
import numpy as np

from prism_jax.metrics.ms_ssim import ms_ssim
from tests.reference.conftest import load_trace

PAIRS = {"a_b": ("img_a_u8", "img_b_u8"), "a_c": ("img_a_u8", "img_c_u8"), "rgb": ("img_rgb1_u8", "img_rgb2_u8")}


def test_ms_ssim_agrees_with_the_reference():
    trace = load_trace("15_metrics")

    def colour(name):  # grey thrice is what grey is
        image = trace.arrays[name].reshape(256, 256, -1).astype(np.float32) / 255
        return np.broadcast_to(image, (256, 256, 3))

    x, y = (np.stack([colour(pair[i]) for pair in PAIRS.values()]) for i in (0, 1))
    found = jax.jit(lambda x, y: ms_ssim(x, y, value_range=(0.0, 1.0)))(x, y)
    np.testing.assert_allclose(found, [trace.meta[f"msssim_{name}"] for name in PAIRS], atol=3e-6)
