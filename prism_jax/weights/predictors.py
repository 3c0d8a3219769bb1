"""The published layout of the Morpho-MNIST predictors' parameters, and folders of predictors of ours, which keep to it.

The chest predictor's trunk is named as torchvision's ResNet-18 written as a sequence of its parts, its heads by what
they read.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flax import nnx

from prism_jax import config as configs
from prism_jax.models.predictors import ChestConfig, ChestPredictor, MorphoConfig, MorphoPredictor
from prism_jax.weights import diffusers, files, pretrained

STEM = "model"
COUNTER = ".num_batches_tracked"  # of PyTorch's batch norms; unused

Predictor = MorphoPredictor | ChestPredictor

# our spelling -> theirs, on the dotted name of a parameter; activations and pools take numbers too
MORPHO = (
    (r"^thickness\.", "encoder_t."),
    (r"^intensity\.", "encoder_i."),
    (r"^digit\.", "encoder_y."),
    *((rf"\.convs\.{i}\.", f".cnn.{3 * i + (i > 0)}.") for i in range(6)),
    *((rf"\.norms\.{i}\.", f".cnn.{3 * i + (i > 0) + 1}.") for i in range(6)),
    (r"\.hidden\.", ".fc.0."),
    (r"\.norm\.", ".fc.1."),
    (r"\.out\.", ".fc.3."),
)
CHEST = (
    (r"^stem\.", "trunk.0."),
    (r"^stem_norm\.", "trunk.1."),
    (r"\.downsample\.", ".downsample.0."),
    (r"\.downsample_norm\.", ".downsample.1."),
    (r"^heads\.", "head."),
)


def network_of(config: MorphoConfig | ChestConfig) -> type[Predictor]:
    """The class of the network with these options."""
    return MorphoPredictor if isinstance(config, MorphoConfig) else ChestPredictor


def from_published(config: MorphoConfig | ChestConfig, tensors: Mapping[str, np.ndarray]) -> Predictor:
    """The network of tensors in PyTorch's layout.

    Raises:
      ValueError: tensors without a parameter, parameters without a tensor, shapes that differ; all at once.
    """
    counters = frozenset(name for name in tensors if name.endswith(COUNTER))
    network = pretrained.abstract(network_of(config), config)
    return diffusers.fill(network, tensors.items(), names(config), buffers=counters)


def to_published(network: Predictor) -> dict[str, np.ndarray]:
    """All parameters and running moments under those names."""
    return diffusers.tensors_of(network, names(network.config), kinds=(nnx.Param, nnx.BatchStat))


def load(folder: Path | str) -> Predictor:
    """The network of a folder that `save` wrote; ValueError for anything that does not fit."""
    config = configs.read(folder, MorphoConfig | ChestConfig, "give the folder of trained predictors")
    return from_published(config, dict(files.read(files.find(Path(folder), STEM))))


def save(network: Predictor, folder: Path | str) -> None:
    """Writes config.json and model.safetensors."""
    configs.write(network.config, folder)
    files.write(to_published(network), Path(folder) / f"{STEM}.safetensors")


def names(config: MorphoConfig | ChestConfig) -> tuple[tuple[str, str], ...]:
    """The table that `diffusers.fill` takes."""
    if isinstance(config, MorphoConfig):
        return MORPHO
    stages = ((rf"^units\.{i}\.", f"trunk.{4 + i // 2}.{i % 2}.") for i in range(2 * len(config.widths)))
    return (*stages, *CHEST)
