"""The published layout of the hierarchical VAE's parameters, and a folder of one of ours, which keeps to it."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from prism_jax.models.hvae import HVAE
from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.weights import diffusers, files, pretrained

STEM = "model"

# Within a block the published convolutions lie between activations.
INNER = {"gelu": ("1", "3", "5", "7"), "light": ("1", "3")}
# our spelling -> theirs, on the dotted name of a parameter
NAMES = (
    (r"\.projection\.", ".width_proj."),
    (r"^decoder\.bias\.(\d+)\.bias$", r"decoder.bias.\1"),
    (r"^head\.parameters\.", "likelihood.conv."),
    (r"^head\.loc\.", "likelihood.x_loc."),
    (r"^head\.log_scale\.", "likelihood.x_logscale."),
    (r"^head\.coefficients\.", "likelihood.channel_coeffs."),
)


def from_published(config: HVAEConfig, tensors: Mapping[str, np.ndarray]) -> HVAE:
    """The network of a published state dict (NCHW maps, OIHW kernels).

    Raises:
      ValueError: tensors without a parameter, parameters without a tensor, shapes that differ; all at once.
    """
    wanted = ((name, _map(name, value, (0, 2, 3, 1))) for name, value in _read(tensors, config))
    return diffusers.fill(pretrained.abstract(HVAE, config), wanted, names(config))


def to_published(network: HVAE) -> dict[str, np.ndarray]:
    """The parameters under their published names, without those that the published code creates and never uses."""
    tensors = diffusers.tensors_of(network, names(network.config))
    return {name: _map(name, value, (0, 3, 1, 2)) for name, value in tensors.items()}


def load(folder: Path | str) -> HVAE:
    """The network of a folder that `save` wrote; ValueError for anything that does not fit."""
    config = HVAEConfig.from_dict(pretrained.read_json(Path(folder) / "config.json"))
    return from_published(config, dict(files.read(files.find(Path(folder), STEM))))


def save(network: HVAE, folder: Path | str) -> None:
    """Writes config.json and model.safetensors."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pretrained.write_json(network.config.to_dict(), folder / "config.json")
    files.write(to_published(network), folder / f"{STEM}.safetensors")


def names(config: HVAEConfig) -> tuple[tuple[str, str], ...]:
    """The table that `diffusers.fill` takes."""
    inner = tuple((rf"\.convs\.{i}\.", f".conv.{place}.") for i, place in enumerate(INNER[config.block]))
    return (*inner, *NAMES)


def _map(name: str, value: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The learned maps of the decoder with their axes moved; other tensors as they are."""
    return value.transpose(axes) if name.startswith("decoder.bias.") else value


def _read(tensors: Mapping[str, np.ndarray], config: HVAEConfig) -> Iterable[tuple[str, np.ndarray]]:
    """Tensors without unused ones: projections between equal widths, and the last block's of z."""
    last = f"decoder.blocks.{len(config.levels) - 1}.z_feat_proj."
    for name, value in tensors.items():
        kernel = tensors.get(re.sub("bias$", "weight", name)) if ".width_proj." in name else None
        is_idle = kernel is not None and kernel.shape[0] == kernel.shape[1]
        if not is_idle and not name.startswith(last):
            yield name, value
