"""Scaled dot-product attention in one place: fused kernels, or explicit maps where an edit needs them."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from prism_jax.models import streamed
from prism_jax.models.layers import Linear

LARGEST_MAPS = 2**24  # attention maps of more entries are computed in blocks, for memory
LARGEST_MAPS_CPU = 2**16  # on CPUs larger maps leave the cache; a gradient needs several of 256 KB


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """Position of an attention layer in the UNet; known at trace time."""

    place: str  # "down", "mid" or "up"
    is_cross: bool
    height: int  # of the feature map the queries come from
    width: int


class AttentionControl(Protocol):
    """Interface of edits to the attention layers; `prism_jax.editing` implements it.

    Its methods are called while the UNet is traced, with the UNet's whole batch.
    """

    def replace_self_attention(self, q: jax.Array, k: jax.Array, site: Site) -> tuple[jax.Array, jax.Array]:
        """Maps queries and keys `[b, q, n, d]` of a self-attention layer to the ones used in their place."""

    def edit_cross_attention(self, probs: jax.Array, site: Site) -> jax.Array:
        """Maps the attention `[b, n, q, k]` of a cross-attention layer to the one used in its place."""


def uses_cudnn(dtype: jnp.dtype, head_dim: int) -> bool:
    """True if cuDNN's flash attention can be used: on a GPU, in half precision, with a supported head width.

    Widths must be multiples of 8 up to 128. Wider heads (160 in SD 1.5's deepest layers, of few tokens) need compute
    capability 9.0 and a recent cuDNN; XLA's path costs them little.
    """
    half = jnp.dtype(dtype) in (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
    return jax.default_backend() == "gpu" and half and head_dim % 8 == 0 and head_dim <= 128


def dot_product_attention(q: jax.Array, k: jax.Array, v: jax.Array, *, is_causal: bool = False) -> jax.Array:
    """Attention of `[b, q, n, d]` over `[b, k, n, d]`; the softmax is float32 on every path."""
    if uses_cudnn(q.dtype, q.shape[-1]):
        return _cudnn(q, k, v, is_causal=is_causal)
    largest = LARGEST_MAPS_CPU if jax.default_backend() == "cpu" else LARGEST_MAPS
    if not is_causal and q.shape[0] * q.shape[2] * q.shape[1] * k.shape[1] > largest:
        return streamed.attention(q, k, v, largest)
    return jax.nn.dot_product_attention(q, k, v, is_causal=is_causal, implementation="xla")


def _cudnn(q: jax.Array, k: jax.Array, v: jax.Array, *, is_causal: bool) -> jax.Array:
    """cuDNN's attention. JAX differentiates it for even numbers of queries and keys only: odd ones are padded."""
    attend = partial(jax.nn.dot_product_attention, is_causal=is_causal, implementation="cudnn")
    if q.shape[1] % 2 == k.shape[1] % 2 == 0:
        return attend(q, k, v)
    even = lambda x: jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0)))
    lengths = [jnp.full(len(q), x.shape[1], jnp.int32) for x in (q, k)]
    out = attend(even(q), even(k), even(v), query_seq_lengths=lengths[0], key_value_seq_lengths=lengths[1])
    return out[:, : q.shape[1]]


def attention_probs(q: jax.Array, k: jax.Array) -> jax.Array:
    """Explicit attention maps, float32 `[b, n, q, k]`."""
    logits = jnp.einsum("bqnd,bknd->bnqk", q, k, preferred_element_type=jnp.float32)
    return jax.nn.softmax(logits * q.shape[-1] ** -0.5, axis=-1)


class Attention(nnx.Module):
    """Multi-head attention with the parameter names of diffusers' `Attention`."""

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        context_dim: int | None,
        bias: bool,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        source = channels if context_dim is None else context_dim
        self.heads = heads
        self.is_cross = context_dim is not None
        self.to_q = Linear(channels, channels, use_bias=bias, dtype=dtype, rngs=rngs)
        self.to_k = Linear(source, channels, use_bias=bias, dtype=dtype, rngs=rngs)
        self.to_v = Linear(source, channels, use_bias=bias, dtype=dtype, rngs=rngs)
        self.to_out = Linear(channels, channels, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        context: Sequence[jax.Array] = (),
        control: AttentionControl | None = None,
        site: Site | None = None,
    ) -> jax.Array:
        """Attends from `x [b, q, c]` to `context`, whose parts `[.., k, d]` make up the batch, or to itself."""
        # Part by part: keys and values of a part that is constant in a loop are then computed once, before it.
        k, v = (self._split(jnp.concatenate([f(part) for part in context or (x,)])) for f in (self.to_k, self.to_v))
        q = self._split(self.to_q(x))
        if control is not None and self.is_cross:
            probs = control.edit_cross_attention(attention_probs(q, k), site)
            out = jnp.einsum("bnqk,bknd->bqnd", probs.astype(v.dtype), v)
        else:
            if control is not None:
                q, k = control.replace_self_attention(q, k, site)
            out = dot_product_attention(q, k, v)
        return self.to_out(out.reshape(x.shape))

    def _split(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:2], self.heads, -1)  # [b, q, n, d]
