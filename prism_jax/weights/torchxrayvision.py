"""DenseNets of torchxrayvision (github.com/mlmed/torchxrayvision): its names, its files, its operating points.

Its files are pickles of whole models, which run code when opened; convert one once where PyTorch is (`CONVERSION`).
"""

import re
from pathlib import Path

import numpy as np

from prism_jax.models.densenet import DenseNet, DenseNetConfig
from prism_jax.weights import diffusers, files, pretrained

DENSENET = (
    (r"^blocks\.", ""),
    (r"^transitions\.", ""),
    (r"^(?!classifier\.)", "features."),
)
COUNTER = ".num_batches_tracked"  # of PyTorch's batch norms; not used in eval()
THRESHOLDS = "op_threshs"
CONVERSION = (
    'python -c "import torchxrayvision as xrv, safetensors.torch as s; '
    "m = xrv.models.DenseNet(weights='densenet121-res224-all'); s.save_file(m.state_dict(), 'model.safetensors')\""
)


def load_densenet(file: str | Path) -> tuple[DenseNet, np.ndarray | None]:
    """The network in a safetensors file of torchxrayvision's state dict, and its operating points [n] if it has them.

    The sizes of the network are read off the arrays.

    Raises:
      ValueError: a pickle, a file that is missing, damaged or not of a DenseNet, weights left over or missing.
    """
    file = Path(file)
    if file.suffix != ".safetensors":
        raise ValueError(
            f"{file} is not safetensors, and pickles can run code when opened; convert it once: {CONVERSION}"
        )
    if not file.is_file():
        raise ValueError(f"no file {file}; create it where PyTorch is installed: {CONVERSION}")
    tensors = dict(files.read([file]))
    thresholds = tensors.pop(THRESHOLDS, None)
    config = config_of({name: value.shape for name, value in tensors.items()}, file)
    counters = frozenset(name for name in tensors if name.endswith(COUNTER))
    abstract = pretrained.abstract(DenseNet, config)
    return diffusers.fill(abstract, tensors.items(), DENSENET, buffers=counters), thresholds


def config_of(shapes: dict[str, tuple[int, ...]], file: str | Path) -> DenseNetConfig:
    """The config of the network whose arrays have these names and (PyTorch) shapes.

    Raises:
      ValueError: these are not the arrays of a DenseNet; `file` is named.
    """
    layers = [re.fullmatch(r"features\.denseblock(\d+)\.denselayer(\d+)\.conv2\.weight", name) for name in shapes]
    places = [(int(match[1]), int(match[2])) for match in layers if match]
    needed = {"features.conv0.weight", "classifier.weight"}
    if not places or needed - shapes.keys():
        raise ValueError(f"{file} holds no DenseNet of torchxrayvision: no {', '.join(sorted(needed))} or dense layers")
    growth, width = shapes["features.denseblock1.denselayer1.conv2.weight"][:2]
    first, channels = shapes["features.conv0.weight"][:2]
    return DenseNetConfig(
        growth_rate=growth,
        block_config=tuple(max(j for i, j in places if i == block) for block in sorted({i for i, _ in places})),
        num_init_features=first,
        bn_size=width // growth,
        num_classes=shapes["classifier.weight"][0],
        in_channels=channels,
        norm="batch",
        input_range=1024.0,
    )
