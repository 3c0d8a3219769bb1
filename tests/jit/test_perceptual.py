import numpy as np
import pytest

from prism_jax.classifier import Classifier
from prism_jax.metrics.perceptual import perceptual_distance
from prism_jax.models.convnext import ConvNeXt
from tests import tiny_configs
from tests.conftest import untrained


@pytest.fixture(scope="module")
def judge():
    config = tiny_configs.convnext()
    names = [f"finding {i}" for i in range(config.num_classes)]
    return Classifier.of(untrained(ConvNeXt, config), targets=names, size=32)


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    return tuple(rng.uniform(-1, 1, (8, 32, 32, 3)).astype(np.float32) for _ in range(2))


def test_without_weights_the_distance_is_named_for_what_it_is(judge, pair, tmp_path):
    found = perceptual_distance(judge)
    assert found.name == "classifier-feature distance"
    assert "No LPIPS weights" in found.note
    x, y = pair
    np.testing.assert_allclose(found.distance(x, x), 0.0)
    assert (np.asarray(found.distance(x, y)) > 0).all()
    with pytest.raises(ValueError, match="LPIPS needs weights that are not in"):
        perceptual_distance(judge, lpips_folder=tmp_path)
