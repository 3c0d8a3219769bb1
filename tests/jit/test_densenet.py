"""DenseNet: pixel range and weight files are checked."""

import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.models.densenet import DenseNet, DenseNetConfig
from prism_jax.weights import torchxrayvision
from tests.conftest import untrained


def small(**options):
    config = DenseNetConfig(
        growth_rate=2, block_config=(1, 1), num_init_features=2, bn_size=1, norm="batch", input_range=1024, **options
    )
    return untrained(DenseNet, config)


@pytest.mark.parametrize(("factor", "message"), [(1, "multiply by it"), (2000, r"reach 2000"), (np.nan, "reach nan")])
def test_pixels_of_another_range_are_refused(factor, message):
    with pytest.raises(ValueError, match=message):
        small().feature_maps(jnp.ones((1, 32, 32, 1)) * factor)


def test_pickles_and_other_files_are_refused_with_a_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"pickles can run code .* python -c .*torchxrayvision"):
        torchxrayvision.load_densenet(tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"no file .*model\.safetensors"):
        torchxrayvision.load_densenet(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="holds no DenseNet of torchxrayvision"):
        torchxrayvision.config_of({"conv.weight": (1, 1)}, "file")
