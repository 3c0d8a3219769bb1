"""The CLIP text encoder of Stable Diffusion (transformers' `CLIPTextModel`)."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from prism_jax.models.attention import dot_product_attention
from prism_jax.models.layers import LayerNorm

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "gelu": partial(jax.nn.gelu, approximate=False),
}


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
    def tiny(cls, vocab_size: int = 64) -> "TextConfig":
        return cls(
            vocab_size=vocab_size,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
        )

    @classmethod
    def from_dict(cls, config: dict[str, Any], *, dtype: jnp.dtype = jnp.float32) -> "TextConfig":
        """Reads a transformers `text_encoder/config.json`."""
        names = {field.name for field in dataclasses.fields(cls)} - {"dtype"}
        result = cls(**{name: config[name] for name in names if name in config}, dtype=dtype)
        if result.hidden_act not in ACTIVATIONS:
            raise ValueError(f"text encoder config: hidden_act {result.hidden_act!r} is not one of {list(ACTIVATIONS)}")
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


class SelfAttention(nnx.Module):
    def __init__(self, config: TextConfig, *, rngs: nnx.Rngs):
        d = config.hidden_size
        self.heads = config.num_attention_heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nnx.Linear(d, d, dtype=config.dtype, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        b, k, d = x.shape
        heads = (f(x).reshape(b, k, self.heads, -1) for f in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(dot_product_attention(*heads, is_causal=True).reshape(b, k, d))


class MLP(nnx.Module):
    def __init__(self, config: TextConfig, *, rngs: nnx.Rngs):
        self.activation = config.hidden_act
        self.fc1 = nnx.Linear(config.hidden_size, config.intermediate_size, dtype=config.dtype, rngs=rngs)
        self.fc2 = nnx.Linear(config.intermediate_size, config.hidden_size, dtype=config.dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(ACTIVATIONS[self.activation](self.fc1(x)))


class EncoderLayer(nnx.Module):
    def __init__(self, config: TextConfig, *, rngs: nnx.Rngs):
        norm = partial(LayerNorm, config.hidden_size, epsilon=config.layer_norm_eps, rngs=rngs)
        self.layer_norm1 = norm()
        self.self_attn = SelfAttention(config, rngs=rngs)
        self.layer_norm2 = norm()
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class CLIPTextModel(nnx.Module):
    """Token ids to one vector per position; padding is attended like any token, as Stable Diffusion does."""

    def __init__(self, config: TextConfig, *, rngs: nnx.Rngs):
        self.config = config
        embed = partial(nnx.Embed, features=config.hidden_size, dtype=config.dtype, rngs=rngs)
        self.token_embedding = embed(config.vocab_size)
        self.position_embedding = embed(config.max_position_embeddings)
        self.layers = nnx.List(EncoderLayer(config, rngs=rngs) for _ in range(config.num_hidden_layers))
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
