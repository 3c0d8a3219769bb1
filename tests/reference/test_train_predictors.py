"""Published weights of the attribute predictors."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from prism_jax.models.predictors import ChestConfig, MorphoConfig
from prism_jax.weights import predictors as weights


def test_published_tensors_are_all_read_and_nothing_else_is(reference):
    trace = load_file(reference / "scm" / "traces" / "pgm_morpho.safetensors")
    tensors = {n.removeprefix("params/"): value for n, value in trace.items() if n.startswith("params/encoder_")}
    tensors["encoder_t.fc.1.num_batches_tracked"] = np.array(3)
    network = weights.from_published(MorphoConfig(size=16), tensors)
    again = weights.to_published(network)
    assert again.keys() == {name for name in tensors if not name.endswith("tracked")}
    for name, value in again.items():
        np.testing.assert_array_equal(value, tensors[name])
    np.testing.assert_array_equal(network.digit.norms[5].var[...], tensors["encoder_y.cnn.17.running_var"])
    tensors["encoder_t.fc.9.weight"] = tensors.pop("encoder_t.fc.3.weight")
    with pytest.raises(ValueError, match=r"unread \['encoder_t.fc.9.weight'\]; never filled \['encoder_t.fc.3.weight'"):
        weights.from_published(MorphoConfig(size=16), tensors)
    chest = load_file(reference / "scm" / "traces" / "predictor_resnet.safetensors")
    chest = {n.removeprefix("params/").replace("/", "."): v for n, v in chest.items() if n.startswith("params/")}
    weights.from_published(ChestConfig(widths=(8, 16, 24, 32)), chest)
