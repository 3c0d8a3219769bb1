"""A classifier's predictions mean what it says, whatever is done to its folder or its batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.classifier import Classifier, at_operating_points, preprocess
from prism_jax.models.convnext import ConvNeXt
from prism_jax.models.densenet import DenseNet
from tests import tiny_configs
from tests.conftest import untrained

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (3, 24, 24, 3)), jnp.float32)
POINTS = jnp.array([0.2, jnp.nan])
predict = jax.jit(lambda judge, images: judge.predict(images))


@pytest.fixture(
    scope="module", params=[(DenseNet, tiny_configs.densenet()), (ConvNeXt, tiny_configs.convnext())], ids=str
)
def judge(request):
    """A calibrated classifier of each family."""
    network, config = request.param
    pooled = dataclasses.replace(config, pool="mean_max")
    found = Classifier.of(untrained(network, pooled), targets=("edema", "sex"), size=32, age_scale=(50.0, 10.0))
    return found.replace(temperature=jnp.array([2.0, 0.5]), shift=jnp.array([0.1, -0.3]))


@pytest.fixture(scope="module")
def seen(judge):
    return predict(judge, IMAGES)


def test_a_prediction_has_a_logit_a_target_an_age_and_features(judge, seen):
    assert seen.logits.shape == (3, 2)
    assert seen.age.shape == (3,)
    assert seen.features.shape == (3, judge.network.classifier.kernel.shape[0])
    np.testing.assert_allclose(seen.probabilities, 1 / (1 + np.exp(-np.asarray(seen.logits))), rtol=1e-5)
    head = judge.network.classifier
    outputs = seen.features @ head.kernel[...] + head.bias[...][None]
    np.testing.assert_allclose(
        seen.logits, outputs[:, :2] / jnp.array([[2, 0.5]]) + jnp.array([[0.1, -0.3]]), atol=1e-5
    )
    np.testing.assert_allclose(seen.age, 50 + 10 * outputs[:, 2], rtol=1e-5)


def test_an_image_is_judged_the_same_beside_any_others(judge, seen):
    others = predict(judge, IMAGES.at[1:].set(IMAGES[:2] * 0.5))
    np.testing.assert_allclose(others.logits[0], seen.logits[0], atol=1e-5)
    np.testing.assert_allclose(others.age[0], seen.age[0], rtol=1e-5)


def test_a_folder_gives_the_classifier_back(judge, tmp_path):
    judge = judge.replace(thresholds=POINTS)
    judge.save_pretrained(tmp_path)
    read = Classifier.from_pretrained(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, read, judge)
    assert jax.tree.structure(read) == jax.tree.structure(judge)
    assert read.column("sex") == 1
    with pytest.raises(ValueError, match="does not know 'mass'; it knows edema, sex"):
        read.column("mass")


def test_operating_points_become_one_half_and_order_stays():
    probabilities = jnp.array([[0.1, 0.3], [0.2, 0.8], [0.9, 0.1]])
    scaled = at_operating_points(probabilities, POINTS)
    np.testing.assert_allclose(scaled[:, 0], [0.25, 0.5, 0.9375], rtol=1e-6)
    np.testing.assert_array_equal(scaled[:, 1], 0.5)


def test_grey_is_the_mean_of_the_channels_and_size_is_the_networks():
    pixels = preprocess(IMAGES, 24, 1024.0)
    np.testing.assert_allclose(pixels[..., 0], 1024 * IMAGES.mean(-1), rtol=1e-5, atol=1e-3)
    assert preprocess(IMAGES, 12).shape == (3, 12, 12, 1)
    np.testing.assert_allclose(preprocess(jnp.full((1, 24, 24, 3), 0.5), 36), 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[..., :1], r"give \[b, h, w, 3\]"),
        (jnp.zeros((1, 8, 8, 3), jnp.uint8), "images are uint8; give floats"),
        (IMAGES * 255, r"the network takes \[-1, 1\]"),
    ],
)
def test_images_of_another_kind_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        preprocess(images, 32)


def test_outputs_and_targets_have_to_fit():
    network = untrained(DenseNet, tiny_configs.densenet())
    with pytest.raises(ValueError, match="the network has 3 outputs, 2 are needed: edema, sex"):
        Classifier.of(network, targets=("edema", "sex"), size=32)


def test_a_folder_that_holds_no_classifier_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no classifier in .*: no config\.json; train one"):
        Classifier.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"family": "vgg"}')
    with pytest.raises(ValueError, match="family 'vgg' is not one of densenet, convnext"):
        Classifier.from_pretrained(tmp_path)
