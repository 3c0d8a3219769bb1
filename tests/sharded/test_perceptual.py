"""Judges and image metrics on eight devices and on one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import sharding
from prism_jax.metrics.image import l1, psnr, ssim
from prism_jax.metrics.ms_ssim import ms_ssim
from tests.jit.test_perceptual import judge, pair  # noqa: F401


@pytest.mark.usefixtures("compiled_well")  # the similarity of unrelated noise cancels to almost 0
def test_eight_devices_give_what_one_gives(judge, pair):
    def measured(judge, x, y):
        features = [judge.predict(images).features for images in (x, y)]
        own = l1(x, y), psnr(x, y), ssim(x, y), ms_ssim(x, y, scales=2)
        return *own, jnp.linalg.norm(features[0] - features[1], axis=-1)

    one = jax.jit(measured)(judge, *pair)
    mesh = sharding.make_mesh()
    cut = [sharding.host_batch_to_global(images, mesh) for images in pair]
    judged = jax.device_put(judge, sharding.replicated(mesh))
    eight = jax.jit(measured)(judged, *cut)
    assert all(len(array.sharding.device_set) == 8 for array in eight)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), one, eight)
