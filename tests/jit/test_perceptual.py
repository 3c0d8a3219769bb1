import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import sharding
from prism_jax.classifier import Classifier
from prism_jax.metrics.image import l1, psnr, ssim
from prism_jax.metrics.ms_ssim import ms_ssim
from prism_jax.metrics.perceptual import perceptual_distance
from prism_jax.models.convnext import ConvNeXt, ConvNeXtConfig
from tests.conftest import untrained


@pytest.fixture(scope="module")
def judge():
    config = ConvNeXtConfig.tiny()
    names = [f"finding {i}" for i in range(config.num_classes)]
    return Classifier.of(untrained(ConvNeXt, config), targets=names, size=32)


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    return tuple(rng.uniform(-1, 1, (8, 32, 32, 3)).astype(np.float32) for _ in range(2))


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


def test_without_weights_the_distance_is_named_for_what_it_is(judge, pair, tmp_path):
    found = perceptual_distance(judge)
    assert found.name == "classifier-feature distance"
    assert "No LPIPS weights" in found.note
    x, y = pair
    np.testing.assert_allclose(found.distance(x, x), 0.0)
    assert (np.asarray(found.distance(x, y)) > 0).all()
    with pytest.raises(ValueError, match="LPIPS needs weights that are not in"):
        perceptual_distance(judge, lpips_folder=tmp_path)
