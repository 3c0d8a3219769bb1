"""The CLIP text encoder of Stable Diffusion (transformers' `CLIPTextModel`)."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from prism_jax.models.layers import LayerNorm
from prism_jax.models.transformer import EncoderLayer, check_activation


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Options of the text encoder, with transformers' names."""

    vocab_size: int = 49408
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    dtype: jnp.dtype = jnp.float32  # compute; parameters are always float32

    @classmethod
    def from_dict(cls, config: dict[str, Any], *, dtype: jnp.dtype = jnp.float32) -> "TextConfig":
        """Reads a transformers `text_encoder/config.json`."""
        names = {field.name for field in dataclasses.fields(cls)} - {"dtype"}
        result = cls(**{name: config[name] for name in names if name in config}, dtype=dtype)
        check_activation(result.hidden_act, "text encoder")
        return result

    def to_dict(self) -> dict[str, Any]:
        """The transformers `text_encoder/config.json`."""
        own = dataclasses.asdict(self)
        del own["dtype"]
        last = self.vocab_size - 1  # CLIP's tokenizers put the start and end tokens last
        return own | {
            "architectures": ["CLIPTextModel"],
            "model_type": "clip_text_model",
            "bos_token_id": last - 1,
            "eos_token_id": last,
            "projection_dim": self.hidden_size,
        }


class CLIPTextModel(nnx.Module):
    """Token ids to one vector per position; padding is attended like any token, as Stable Diffusion does."""

    def __init__(self, config: TextConfig, *, rngs: nnx.Rngs):
        self.config = config
        embed = partial(nnx.Embed, features=config.hidden_size, dtype=config.dtype, rngs=rngs)
        self.token_embedding = embed(config.vocab_size)
        self.position_embedding = embed(config.max_position_embeddings)
        self.layers = nnx.List(EncoderLayer(config, is_causal=True, rngs=rngs) for _ in range(config.num_hidden_layers))
        self.final_layer_norm = LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps, rngs=rngs)

    def __call__(self, ids: jax.Array, *, skip_layers: int = 0) -> jax.Array:
        """Maps int `[b, 77]` to float32 `[b, 77, d]`.

        `skip_layers=1` is the penultimate layer, on which SD 2 was trained. Its published folders hold a text encoder
        that is already one layer short, so that they too want 0.
        """
        x = self.token_embedding(ids) + self.position_embedding(jnp.arange(ids.shape[1]))[None]
        for layer in self.layers[: len(self.layers) - skip_layers]:
            x = layer(x)
        return self.final_layer_norm(x).astype(jnp.float32)
