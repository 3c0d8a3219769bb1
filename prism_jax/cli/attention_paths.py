"""Attention kernel that each layer of a Stable Diffusion uses on this backend, and the reason."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from prism_jax.models import attention
from prism_jax.models.autoencoder import AutoencoderConfig
from prism_jax.models.text_encoder import TextConfig
from prism_jax.models.unet import UNetConfig
from prism_jax.weights import pretrained

CUDNN, MAPS, PARTS = "cuDNN flash attention", "XLA, whole maps", "XLA, maps in parts"


class Layer(NamedTuple):
    """Attention layers of the same shape."""

    name: str
    queries: int
    keys: int
    heads: int
    width: int  # of a head
    is_causal: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """Options of the networks that have attention layers."""

    unet: UNetConfig = UNetConfig()
    vae: AutoencoderConfig = AutoencoderConfig()
    text_encoder: TextConfig = TextConfig()

    @classmethod
    def of(cls, folder: Path) -> "Networks":
        """Of the diffusers folder; ValueError where it is none, or of other networks."""
        read = lambda name: pretrained.read_json(folder / name / "config.json")
        return cls(
            unet=UNetConfig.from_dict(read("unet")),
            vae=AutoencoderConfig.from_dict(read("vae")),
            text_encoder=TextConfig.from_dict(read("text_encoder")),
        )


def layers(networks: Networks) -> Iterator[Layer]:
    """The attention layers, at the image side that the model is made for."""
    unet, vae, text = networks.unet, networks.vae, networks.text_encoder
    last = len(unet.block_out_channels) - 1
    for level, channels in enumerate(unet.block_out_channels):
        # The middle block, at the deepest resolution, has attention even where that level has none.
        if not unet.cross_attention[level] and level != last:
            continue
        tokens, heads = (unet.sample_size // 2**level) ** 2, unet.num_heads[level]
        where = f"UNet, {channels} channels"
        yield Layer(f"{where}, self", tokens, tokens, heads, channels // heads)
        yield Layer(f"{where}, text", tokens, text.max_position_embeddings, heads, channels // heads)
    tokens, channels = (vae.sample_size // vae.factor) ** 2, vae.block_out_channels[-1]
    yield Layer("VAE", tokens, tokens, 1, channels)
    words, heads = text.max_position_embeddings, text.num_attention_heads
    yield Layer("text encoder", words, words, heads, text.hidden_size // heads, is_causal=True)


def path(layer: Layer, dtype: jnp.dtype) -> tuple[str, str]:
    """Kernel that computes `layer` for one image in `dtype`, and the reason; "" for the fused kernel."""
    backend = jax.default_backend()
    if attention.uses_cudnn(dtype, layer.width):
        return CUDNN, ""
    if backend != "gpu":
        reason = f"no GPU ({backend})"
    elif not attention.uses_cudnn(jnp.bfloat16, layer.width):
        reason = f"heads of {layer.width}, cuDNN takes multiples of 8 up to 128"
    else:
        reason = f"{jnp.dtype(dtype).name}, cuDNN takes half precision"
    largest = attention.LARGEST_MAPS_CPU if backend == "cpu" else attention.LARGEST_MAPS
    is_large = layer.heads * layer.queries * layer.keys > largest and not layer.is_causal
    return PARTS if is_large else MAPS, reason
