"""Image metrics on eight devices and on one."""

import jax
import numpy as np

from prism_jax import sharding
from prism_jax.metrics.image import l1, mse, psnr, ssim
from tests.jit.test_image_metrics import batch  # noqa: F401


def test_eight_devices_give_what_one_gives(batch):
    images, references = (np.resize(part, (8, *part.shape[1:])) for part in batch)
    cut = [sharding.host_batch_to_global(part, sharding.make_mesh()) for part in (images, references)]
    assert len(cut[0].devices()) == len(jax.devices())
    for metric in (l1, mse, psnr, ssim):
        np.testing.assert_allclose(jax.jit(metric)(*cut), metric(images, references), rtol=1e-6)
