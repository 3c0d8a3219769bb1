"""The CLIP image encoder with its projection (transformers' `CLIPVisionModelWithProjection`)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from prism_jax.models.layers import LayerNorm
from prism_jax.models.transformer import EncoderLayer, check_activation


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """Options of the image encoder, with transformers' names and defaults (ViT-B/32)."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    image_size: int = 224
    patch_size: int = 32
    projection_dim: int = 512
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    dtype: jnp.dtype = jnp.float32  # compute; parameters are always float32

    @property
    def positions(self) -> int:
        """The class token and the patches."""
        return 1 + (self.image_size // self.patch_size) ** 2

    @classmethod
    def from_dict(cls, config: dict[str, Any], *, dtype: jnp.dtype = jnp.float32) -> "VisionConfig":
        """Reads a transformers `vision_config`; ValueError for one that the network cannot follow."""
        names = {field.name for field in dataclasses.fields(cls)} - {"dtype"}
        result = cls(**{name: config[name] for name in names if name in config}, dtype=dtype)
        check_activation(result.hidden_act, "image encoder")
        if config.get("num_channels", 3) != 3:
            raise ValueError(f"image encoder config: num_channels must be 3 (RGB), got {config['num_channels']}")
        if result.image_size % result.patch_size:
            sizes = f"image_size {result.image_size} is not a multiple of patch_size {result.patch_size}"
            raise ValueError(f"image encoder config: {sizes}; give the config.json that came with the weights")
        return result


class CLIPVisionModel(nnx.Module):
    """Normalised images to one vector each: the class token after all layers, projected into the space of the texts."""

    def __init__(self, config: VisionConfig, *, rngs: nnx.Rngs):
        self.config = config
        d, patch = config.hidden_size, (config.patch_size, config.patch_size)
        self.class_embedding = nnx.Param(jnp.zeros(d))
        self.patch_embedding = nnx.Conv(
            3, d, patch, strides=patch, padding="VALID", use_bias=False, dtype=config.dtype, rngs=rngs
        )
        self.position_embedding = nnx.Embed(config.positions, d, dtype=config.dtype, rngs=rngs)
        self.pre_layrnorm = LayerNorm(d, epsilon=config.layer_norm_eps, rngs=rngs)  # sic: the name in every file
        self.layers = nnx.List(
            EncoderLayer(config, is_causal=False, rngs=rngs) for _ in range(config.num_hidden_layers)
        )
        self.post_layernorm = LayerNorm(d, epsilon=config.layer_norm_eps, rngs=rngs)
        # float32 whatever `dtype`: similarities are read off differences of these features.
        self.visual_projection = nnx.Linear(d, config.projection_dim, use_bias=False, dtype=jnp.float32, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps `[b, s, s, 3]` of the config's image size, normalised as for CLIP, to float32 `[b, projection_dim]`.

        Raises:
          ValueError: images of another size.
        """
        size = self.config.image_size
        if images.shape[1:] != (size, size, 3):
            raise ValueError(f"images have the shape {images.shape}; resize them to [b, {size}, {size}, 3]")
        patches = self.patch_embedding(images)  # [b, s / patch, s / patch, d]
        b, d = len(images), self.config.hidden_size
        first = jnp.broadcast_to(self.class_embedding[...].astype(patches.dtype), (b, 1, d))
        x = jnp.concatenate([first, patches.reshape(b, -1, d)], axis=1)  # [b, 1 + patches, d]
        x = self.pre_layrnorm(x + self.position_embedding(jnp.arange(self.config.positions))[None])
        for layer in self.layers:
            x = layer(x)
        return self.visual_projection(self.post_layernorm(x[:, 0].astype(jnp.float32)))
