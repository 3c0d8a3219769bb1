"""LPIPS from its usual files: torchvision's AlexNet, and the weights of the channels."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from prism_jax.models.lpips import LPIPS, LPIPSConfig
from prism_jax.weights import diffusers, files, pretrained

# Where torchvision's `features` has its convolutions; pooling and ReLU stand between them.
LAYERS = (0, 3, 6, 8, 10)


def load_lpips(folder: Path | str) -> LPIPS:
    """Reads `FOLDER/backbone.safetensors` and `FOLDER/lins.safetensors`, state dicts of torchvision and of lpips.

    Raises:
      ValueError: a file is missing (what it is and how to make it) or damaged, or does not fit the network.
    """
    folder = Path(folder)
    _check(folder)
    tensors = files.read([folder / f"{name}.safetensors" for name in ("backbone", "lins")])
    return fill(LPIPSConfig.alex(), tensors)


def fill(config: LPIPSConfig, tensors: Iterator[tuple[str, np.ndarray]]) -> LPIPS:
    """The network of tensors named as in both files; the backbone's classifier, which LPIPS does not use, is left."""
    names = (
        *((rf"^convs\.{i}\.", f"features.{place}.") for i, place in enumerate(LAYERS)),
        (r"^lins\.(\d+)\.", r"lin\1.model.1."),
    )
    kept = ((name, value) for name, value in tensors if not re.match(r"classifier\.\d+\.(weight|bias)$", name))
    # lpips writes `lin0.model.1.weight` alone, and `lins.0.model.1.weight` where the whole module was saved.
    return diffusers.fill(pretrained.abstract(LPIPS, config), kept, names, old=((r"^lins\.(\d+)\.", r"lin\1."),))


def _check(folder: Path) -> None:
    missing = [name for name in ("backbone", "lins") if not (folder / f"{name}.safetensors").is_file()]
    if missing:
        sources = {
            "backbone": "backbone.safetensors is torchvision's alexnet (IMAGENET1K_V1)",
            "lins": "lins.safetensors is weights/v0.1/alex.pth of the lpips package",
        }
        remedies = "; ".join(sources[name] for name in missing)
        hint = files.CONVERSION_HINT.format(source="FILE.pth", target=folder / f"{missing[0]}.safetensors")
        raise ValueError(f"LPIPS needs weights that are not in {folder}: {remedies}; {hint}")
