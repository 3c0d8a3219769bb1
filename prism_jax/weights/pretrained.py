"""One network from, and to, one folder of a diffusers pipeline or of a transformers model."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from prism_jax.models.autoencoder import AutoencoderConfig, AutoencoderKL
from prism_jax.models.clip import CLIP, CLIPConfig
from prism_jax.models.text_encoder import CLIPTextModel, TextConfig
from prism_jax.models.unet import UNet2DCondition, UNetConfig
from prism_jax.pretrained import folder as model_folder
from prism_jax.weights import diffusers, files

Network = TypeVar("Network", bound=nnx.Module)


class Layout(NamedTuple):
    """How the folder of a kind of network stores it; `names`, `old` and `buffers` are those of `diffusers.fill`."""

    config: type
    stem: str  # of the weights' files
    names: tuple[tuple[str, str], ...]
    old: tuple[tuple[str, str], ...] = ()
    buffers: frozenset[str] = frozenset()


LAYOUTS = {
    UNet2DCondition: Layout(UNetConfig, "diffusion_pytorch_model", diffusers.UNET),
    AutoencoderKL: Layout(
        AutoencoderConfig, "diffusion_pytorch_model", diffusers.AUTOENCODER, diffusers.AUTOENCODER_OLD
    ),
    CLIPTextModel: Layout(
        TextConfig, "model", diffusers.TEXT_ENCODER, diffusers.TEXT_ENCODER_OLD, diffusers.TEXT_ENCODER_BUFFERS
    ),
    CLIP: Layout(CLIPConfig, "model", diffusers.CLIP, buffers=diffusers.CLIP_BUFFERS),
}


def load(kind: type[Network], folder: Path | str, **options: Any) -> Network:
    """The network of class `kind` in `folder` (config.json and safetensors), or in a shipped model (`phantom/vae`).

    `options` are dtype (compute; by default float32) and, of a UNet, remat. ValueError for anything that does not fit.
    """
    folder, layout = model_folder(folder), LAYOUTS[kind]
    config = layout.config.from_dict(read_json(folder / "config.json"), **options)
    tensors = files.read(files.find(folder, layout.stem))
    return diffusers.fill(abstract(kind, config), tensors, layout.names, old=layout.old, buffers=layout.buffers)


def save(network: nnx.Module, folder: Path, *, dtype: jnp.dtype = jnp.float32) -> None:
    """Writes config.json and safetensors as diffusers and transformers read them."""
    layout = LAYOUTS[type(network)]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(network.config.to_dict(), folder / "config.json")
    files.write(diffusers.tensors_of(network, layout.names, dtype), folder / f"{layout.stem}.safetensors")


def fingerprint(network: nnx.Module) -> str:
    """A hash of a network's options and float32 parameters, whatever files, names and precision they were stored in.

    The precision that it computes in is left out.
    """
    options = {name: value for name, value in vars(network.config).items() if name not in ("dtype", "remat")}
    digest = hashlib.blake2b(repr(sorted(options.items())).encode(), digest_size=20)
    for path, leaf in nnx.to_flat_state(nnx.state(network, nnx.Param)):
        digest.update(repr(path).encode())
        digest.update(np.ascontiguousarray(leaf[...], np.float32))
    return digest.hexdigest()


def write_json(value: dict[str, Any], file: Path) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n")


def abstract(network: type, config: Any) -> nnx.Module:
    """A network whose parameters are shapes only: no memory is spent on initial values."""
    # Not nnx.Rngs: its counter, once traced, takes more time than everything else together, and quadratically so.
    key = jax.random.key(0)
    keys = SimpleNamespace(params=lambda: key)
    return nnx.eval_shape(lambda: network(config, rngs=keys))


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; ValueError if it is missing or damaged."""
    if not file.is_file():
        raise ValueError(
            f"{file} is missing; point to a model's folder (of a Stable Diffusion: in the diffusers layout)"
        )
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON ({error}); copy it again") from error
