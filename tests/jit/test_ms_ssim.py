import jax
import numpy as np
import pytest

from prism_jax.metrics.image import ssim
from prism_jax.metrics.ms_ssim import ms_ssim, scales_within


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
    with pytest.raises(ValueError, match="scales must be 1 to 5, got 6"):
        ms_ssim(image, image, scales=6)
