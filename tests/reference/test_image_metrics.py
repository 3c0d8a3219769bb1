"""SSIM and PSNR of scikit-image."""

import numpy as np
import pytest

from prism_jax.metrics.image import l1, mse, psnr, ssim
from tests.reference.conftest import load_trace

PAIRS = {
    "a_b": ("img_a_u8", "img_b_u8"),
    "a_c": ("img_a_u8", "img_c_u8"),
    "rgb": ("img_rgb1_u8", "img_rgb2_u8"),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_image_metrics_agree_with_the_reference(pair):
    trace = load_trace("15_metrics")
    x, y = (trace.arrays[name].reshape(1, 256, 256, -1).astype(np.float32) / 255 for name in PAIRS[pair])
    # 1e-5: SSIM differences are of float32 rounding in the window sums, the rest agrees to seven digits.
    np.testing.assert_allclose(ssim(x, y, value_range=(0.0, 1.0))[0], trace.meta[f"ssim_{pair}"], atol=1e-5)
    np.testing.assert_allclose(psnr(x, y, value_range=(0.0, 1.0))[0], trace.meta[f"psnr_{pair}"], rtol=1e-6)
    np.testing.assert_allclose(mse(x, y)[0], trace.meta[f"mse_{pair}"], rtol=1e-6)
    np.testing.assert_allclose(l1(x, y)[0], trace.meta[f"l1_{pair}"], rtol=1e-6)
