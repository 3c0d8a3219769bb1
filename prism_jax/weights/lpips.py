"""LPIPS from its usual files: torchvision's AlexNet or VGG-16, and the weights of the channels."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from prism_jax.models.lpips import LPIPS, LPIPSConfig
from prism_jax.weights import diffusers, files, pretrained

# Where torchvision's `features` has its convolutions; pooling and ReLU stand between them.
LAYERS = {"alex": (0, 3, 6, 8, 10), "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}
SOURCES = {"alex": "torchvision's alexnet (IMAGENET1K_V1)", "vgg": "torchvision's vgg16 (IMAGENET1K_V1)"}

# Onto the CPU: the files of lpips were saved from a GPU.
CONVERSION_HINT = (
    'convert each once where PyTorch is: python -c "import torch, safetensors.torch as s; '
    "s.save_file(torch.load('FILE.pth', map_location='cpu', weights_only=True), '{target}')\""
)


def load_lpips(folder: Path | str, *, backbone: str = "alex") -> LPIPS:
    """Reads `FOLDER/backbone.safetensors` and `FOLDER/lins.safetensors`, state dicts of torchvision and of lpips.

    Raises:
      ValueError: a file is missing (what it is and how to make it) or damaged, or does not fit the network.
    """
    if backbone not in LAYERS:
        raise ValueError(f"no LPIPS backbone {backbone!r}; use one of {', '.join(LAYERS)}")
    folder = Path(folder)
    _check(folder, backbone)
    config = LPIPSConfig.alex() if backbone == "alex" else LPIPSConfig.vgg()
    return fill(config, chain(*(files.read([folder / f"{name}.safetensors"]) for name in ("backbone", "lins"))))


def fill(config: LPIPSConfig, tensors: Iterator[tuple[str, np.ndarray]]) -> LPIPS:
    """The network of tensors named as in both files; the backbone's classifier, which LPIPS does not use, is left."""
    places = LAYERS[config.backbone]
    names = (
        *((rf"^convs\.{i}\.", f"features.{place}.") for i, place in enumerate(places)),
        (r"^lins\.(\d+)\.", r"lin\1.model.1."),
    )
    kept = ((name, value) for name, value in tensors if not re.match(r"classifier\.\d+\.(weight|bias)$", name))
    # lpips writes `lin0.model.1.weight` alone, and `lins.0.model.1.weight` where the whole module was saved.
    return diffusers.fill(pretrained.abstract(LPIPS, config), kept, names, old=((r"^lins\.(\d+)\.", r"lin\1."),))


def _check(folder: Path, backbone: str) -> None:
    missing = [name for name in ("backbone", "lins") if not (folder / f"{name}.safetensors").is_file()]
    if missing:
        sources = {
            "backbone": f"backbone.safetensors is {SOURCES[backbone]}",
            "lins": f"lins.safetensors is weights/v0.1/{backbone}.pth of the lpips package",
        }
        remedies = "; ".join(sources[name] for name in missing)
        hint = CONVERSION_HINT.format(target=folder / f"{missing[0]}.safetensors")
        raise ValueError(f"LPIPS needs weights that are not in {folder}: {remedies}; {hint}")
