"""The pre-norm transformer layer of both CLIP towers, with transformers' parameter names."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from prism_jax.models.attention import dot_product_attention
from prism_jax.models.layers import LayerNorm, Linear

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "gelu": partial(jax.nn.gelu, approximate=False),
}


class LayerConfig(Protocol):
    """Options of a layer, from the config of its text or image tower."""

    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    hidden_act: str
    layer_norm_eps: float
    dtype: jnp.dtype


def check_activation(name: str, where: str) -> None:
    """Raises ValueError for an activation that is not one of ours."""
    if name not in ACTIVATIONS:
        raise ValueError(f"{where} config: hidden_act {name!r} is not one of {list(ACTIVATIONS)}")


class SelfAttention(nnx.Module):
    def __init__(self, config: LayerConfig, *, is_causal: bool, rngs: nnx.Rngs):
        d = config.hidden_size
        self.heads = config.num_attention_heads
        self.is_causal = is_causal
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, Linear(d, d, dtype=config.dtype, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        b, k, d = x.shape
        heads = (f(x).reshape(b, k, self.heads, -1) for f in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(dot_product_attention(*heads, is_causal=self.is_causal).reshape(b, k, d))


class MLP(nnx.Module):
    def __init__(self, config: LayerConfig, *, rngs: nnx.Rngs):
        self.activation = config.hidden_act
        self.fc1 = Linear(config.hidden_size, config.intermediate_size, dtype=config.dtype, rngs=rngs)
        self.fc2 = Linear(config.intermediate_size, config.hidden_size, dtype=config.dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(ACTIVATIONS[self.activation](self.fc1(x)))


class EncoderLayer(nnx.Module):
    """Maps `[b, k, d]` to the same; causal for text: a token does not attend to later ones."""

    def __init__(self, config: LayerConfig, *, is_causal: bool, rngs: nnx.Rngs):
        norm = partial(LayerNorm, config.hidden_size, epsilon=config.layer_norm_eps, rngs=rngs)
        self.layer_norm1 = norm()
        self.self_attn = SelfAttention(config, is_causal=is_causal, rngs=rngs)
        self.layer_norm2 = norm()
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))
