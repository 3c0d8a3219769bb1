"""One network from, and to, one folder of a diffusers pipeline or of a transformers model."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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

UNET_STEM = VAE_STEM = "diffusion_pytorch_model"
TEXT_STEM = CLIP_STEM = "model"


def load_unet(folder: Path | str, *, dtype: jnp.dtype = jnp.float32, remat: bool = False) -> UNet2DCondition:
    """The UNet of `folder` (config.json and safetensors); ValueError for anything that does not fit."""
    config = UNetConfig.from_dict(read_json(Path(folder) / "config.json"), dtype=dtype, remat=remat)
    tensors = files.read(files.find(Path(folder), UNET_STEM))
    return diffusers.fill(abstract(UNet2DCondition, config), tensors, diffusers.UNET)


def load_autoencoder(folder: Path | str, *, dtype: jnp.dtype = jnp.float32) -> AutoencoderKL:
    """The VAE of `folder`, or of a shipped model (`phantom/vae`); ValueError for anything that does not fit."""
    folder = model_folder(folder)
    config = AutoencoderConfig.from_dict(read_json(folder / "config.json"), dtype=dtype)
    tensors = files.read(files.find(folder, VAE_STEM))
    names, old = diffusers.AUTOENCODER, diffusers.AUTOENCODER_OLD
    return diffusers.fill(abstract(AutoencoderKL, config), tensors, names, old=old)


def load_text_encoder(folder: Path | str, *, dtype: jnp.dtype = jnp.float32) -> CLIPTextModel:
    """The text encoder of `folder`; ValueError for anything that does not fit."""
    config = TextConfig.from_dict(read_json(Path(folder) / "config.json"), dtype=dtype)
    tensors = files.read(files.find(Path(folder), TEXT_STEM))
    return diffusers.fill(
        abstract(CLIPTextModel, config),
        tensors,
        diffusers.TEXT_ENCODER,
        old=diffusers.TEXT_ENCODER_OLD,
        buffers=diffusers.TEXT_ENCODER_BUFFERS,
    )


def load_clip(folder: Path | str, *, dtype: jnp.dtype = jnp.float32) -> CLIP:
    """Both towers of the transformers `CLIPModel` in `folder`; ValueError for anything that does not fit."""
    config = CLIPConfig.from_dict(read_json(Path(folder) / "config.json"), dtype=dtype)
    tensors = files.read(files.find(Path(folder), CLIP_STEM))
    return diffusers.fill(abstract(CLIP, config), tensors, diffusers.CLIP, buffers=diffusers.CLIP_BUFFERS)


def save_unet(network: UNet2DCondition, folder: Path, *, dtype: jnp.dtype = jnp.float32) -> None:
    """Writes config.json and safetensors as diffusers reads them."""
    _save(network, folder, diffusers.tensors_of(network, diffusers.UNET, dtype), UNET_STEM)


def save_autoencoder(network: AutoencoderKL, folder: Path, *, dtype: jnp.dtype = jnp.float32) -> None:
    """Writes config.json and safetensors as diffusers reads them."""
    _save(network, folder, diffusers.tensors_of(network, diffusers.AUTOENCODER, dtype), VAE_STEM)


def save_text_encoder(network: CLIPTextModel, folder: Path, *, dtype: jnp.dtype = jnp.float32) -> None:
    """Writes config.json and safetensors as transformers reads them."""
    _save(network, folder, diffusers.tensors_of(network, diffusers.TEXT_ENCODER, dtype), TEXT_STEM)


def _save(network: nnx.Module, folder: Path, tensors: dict[str, np.ndarray], stem: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(network.config.to_dict(), folder / "config.json")
    files.write(tensors, folder / f"{stem}.safetensors")


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
