"""DenseNet: predictions of torchxrayvision, and weight files mapped both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from prism_jax.classifier import TORCHXRAYVISION, Classifier, at_operating_points, preprocess, resized
from prism_jax.models.densenet import DenseNet, DenseNetConfig
from prism_jax.weights import diffusers, files, pretrained, torchxrayvision
from tests.conftest import channels_last, manifest
from tests.jit.test_densenet import small
from tests.reference.conftest import load_trace


def tensors_of(network):
    """torchxrayvision's state dict of a network with batch norms."""
    named = diffusers.tensors_of(network, torchxrayvision.DENSENET)
    norms = [name.removesuffix(".running_var") for name in named if name.endswith(".running_var")]
    return named | {norm + torchxrayvision.COUNTER: np.int64(0) for norm in norms}


@pytest.fixture(scope="module")
def file(reference):
    return reference / "models" / "xrv_densenet_tiny" / "model.safetensors"


@pytest.fixture(scope="module")
def network(file):
    return torchxrayvision.load_densenet(file)[0]


@pytest.fixture(scope="module")
def trace(reference):
    return load_trace("14_xrv_densenet")


@pytest.fixture(scope="module")
def seen(file, trace):
    """A classifier's prediction of the reference's images and its feature maps, of one program."""
    images = jnp.repeat(trace.arrays["image_u8_nhw"][..., None], 3, axis=-1).astype(jnp.float32) / 127.5 - 1

    def stages(judge, images):
        return judge.predict(images), judge.network.feature_maps(preprocess(images, judge.size, 1024.0))

    return jax.jit(stages)(Classifier.from_torchxrayvision(file), images)


def near(actual, expected, bound):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


def test_features_and_logits_are_those_of_torchxrayvision(seen, trace):
    found, maps = seen
    near(maps, channels_last(trace.arrays["features"]), 3e-5)
    near(found.features, trace.arrays["features2"], 1e-5)
    near(found.logits, trace.arrays["logits"], 1e-5)
    near(found.probabilities, trace.arrays["sigmoid_out"], 1e-6)
    assert found.age is None
    assert trace.meta["pathologies"] == list(TORCHXRAYVISION)


def test_images_are_scaled_as_torchxrayvision_does(trace):
    images = jnp.repeat(trace.arrays["image_u8_nhw"][..., None], 3, axis=-1).astype(jnp.float32) / 127.5 - 1
    near(preprocess(images, 224, 1024.0), channels_last(trace.arrays["normalized_input"]), 1024 * 1e-6)


def test_probabilities_are_those_at_operating_points(seen, trace):
    found, _ = seen
    scaled = at_operating_points(found.probabilities, jnp.asarray(trace.arrays["op_threshs"]))
    near(scaled, trace.arrays["op_norm_out"], 2e-6)


def test_operating_points_bend_probabilities_as_published(trace):
    arrays = trace.arrays
    points = jnp.asarray(arrays["opnorm_all_threshs"])
    near(at_operating_points(jnp.asarray(arrays["opnorm_in_probs"]), points), arrays["opnorm_out"], 1e-6)
    near(at_operating_points(points[None], points), 0.5, 1e-6)


def test_images_are_resized_as_torchxrayvision_does(trace):
    given, wanted = (channels_last(trace.arrays[f"fix_resolution_{name}"]) for name in ("in160", "out224"))
    near(resized(given, 224), wanted, 1024 * 1e-5)


def test_the_names_of_the_full_network_map_completely(trace):
    theirs = trace.meta["densenet121_state_dict_keys"]
    theirs = {
        name: tuple(shape[0] if shape and isinstance(shape[0], list) else shape) for name, shape in theirs.items()
    }
    counters = {name for name in theirs if name.endswith(torchxrayvision.COUNTER)}
    abstract = pretrained.abstract(DenseNet, DenseNetConfig.torchxrayvision(theirs["classifier.bias"][0]))
    ours = manifest(abstract, torchxrayvision.DENSENET)
    assert dict(ours) == {name: shape for name, shape in theirs.items() if name not in counters}
    assert torchxrayvision.config_of(theirs, "file") == abstract.config


def test_every_array_of_the_file_is_read_bit_for_bit(network, file):
    before, after = load_file(file), tensors_of(network)
    before.pop(torchxrayvision.THRESHOLDS, None)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert value.dtype == after[name].dtype
        np.testing.assert_array_equal(after[name], value)


def test_weights_left_over_or_missing_are_named_together(tmp_path):
    tensors = tensors_of(small(num_classes=2))
    tensors["features.extra.weight"] = tensors.pop("features.norm5.running_var")
    files.write(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"unread \['features.extra.weight'\]; never filled \['features.norm5.running"):
        torchxrayvision.load_densenet(tmp_path / "model.safetensors")


def test_outputs_without_a_name_are_left_out_with_their_operating_points(tmp_path):
    network, points = small(num_classes=3), np.float32([0.1, np.nan, 0.3])
    tensors = tensors_of(network) | {torchxrayvision.THRESHOLDS: points}
    files.write(tensors, tmp_path / "model.safetensors")
    found = Classifier.from_torchxrayvision(tmp_path / "model.safetensors", targets=("Mass", "", "Hernia"), size=32)
    assert found.targets == ("Mass", "Hernia")
    np.testing.assert_array_equal(found.thresholds, np.float32([0.1, 0.3]))
    np.testing.assert_array_equal(found.network.classifier.bias[...], network.classifier.bias[...][np.array([0, 2])])
    with pytest.raises(ValueError, match="has 3 outputs, 2 targets were named"):
        Classifier.from_torchxrayvision(tmp_path / "model.safetensors", targets=("Mass", "Hernia"))
