"""Attention a few queries at a time: its maps never exist whole, in either direction (Dao et al. 2022).

"FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness", arXiv 2205.14135.

At 64x64 latents whole maps are 0.5 GB per image and layer in SD 1.5; on a CPU parts that fit its cache are also several
times faster.
"""

from functools import partial

import jax
import jax.numpy as jnp

HeadArrays = tuple[jax.Array, ...]  # of one head, [b, q, d] or [b, k, d]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def attention(q: jax.Array, k: jax.Array, v: jax.Array, largest: int) -> jax.Array:
    """Attention of `[b, q, n, d]` over `[b, k, n, d]`, in maps of up to `largest` entries; the softmax is float32."""
    return _forward(q, k, v, largest)[0]


def _forward(q: jax.Array, k: jax.Array, v: jax.Array, largest: int) -> tuple[jax.Array, HeadArrays]:
    outputs, logsums = jax.lax.map(partial(_head_outputs, largest), tuple(map(_heads_first, (q, k, v))))
    return _heads_back(outputs), (q, k, v, outputs, logsums)


def _backward(largest: int, kept: HeadArrays, cotangent: jax.Array) -> HeadArrays:
    q, k, v, outputs, logsums = kept
    heads = (*map(_heads_first, (q, k, v)), outputs, logsums, _heads_first(cotangent))
    return tuple(map(_heads_back, jax.lax.map(partial(_head_gradients, largest), heads)))


attention.defvjp(_forward, _backward)


def _head_outputs(largest: int, head: HeadArrays) -> tuple[jax.Array, jax.Array]:
    """What one head makes, [b, q, d], and the logarithms of its softmax's sums, [b, q, 1]."""
    q, k, v = head
    scale = q.shape[-1] ** -0.5

    def some_queries(q: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = _einsum("bqd,bkd->bqk", q, k)
        highest = logits.max(-1, keepdims=True)
        weights = jnp.exp((logits - highest) * scale)
        total = weights.sum(-1, keepdims=True)
        out = _einsum("bqk,bkd->bqd", weights.astype(v.dtype), v) / total
        return out.astype(v.dtype), highest * scale + jnp.log(total)

    outputs, logsums = jax.lax.map(some_queries, _parts(q, _part_size(q, k, largest)))
    return _whole(outputs, q), _whole(logsums, q)


def _head_gradients(largest: int, head: HeadArrays) -> HeadArrays:
    """Gradients of one head's queries, keys and values. Maps are made again, transposed: so all products run along
    their rows but that for the queries."""
    q, k, v, outputs, logsums, cotangent = head
    scale = q.shape[-1] ** -0.5
    shift = jnp.sum(cotangent.astype(jnp.float32) * outputs, -1, keepdims=True)  # [b, q, 1]

    def some_queries(sums: HeadArrays, part: HeadArrays) -> tuple[HeadArrays, jax.Array]:
        of_keys, of_values = sums  # [b, k, d]
        q, logsum, cotangent, shift = part
        maps = jnp.exp(_einsum("bkd,bqd->bkq", k, q) * scale - logsum.swapaxes(1, 2))
        of_values += _einsum("bkq,bqd->bkd", maps.astype(v.dtype), cotangent)
        of_logits = maps * (_einsum("bkd,bqd->bkq", v, cotangent) - shift.swapaxes(1, 2)) * scale
        of_logits = of_logits.astype(q.dtype)
        of_keys += _einsum("bkq,bqd->bkd", of_logits, q)
        return (of_keys, of_values), _einsum("bkq,bkd->bqd", of_logits, k).astype(q.dtype)

    size = _part_size(q, k, largest)
    empty = tuple(jnp.zeros(x.shape, jnp.float32) for x in (k, v))
    parts = tuple(_parts(x, size) for x in (q, logsums, cotangent, shift))
    (of_keys, of_values), of_queries = jax.lax.scan(some_queries, empty, parts)
    return _whole(of_queries, q), of_keys.astype(k.dtype), of_values.astype(v.dtype)


def _part_size(q: jax.Array, k: jax.Array, largest: int) -> int:
    """Queries at a time. Those that divide them need no filling; one is near for sides of powers of two, none for
    CLIP's 257."""
    b, queries = q.shape[:2]
    fitting = min(max(1, largest // (b * k.shape[1])), queries)
    return next((size for size in range(fitting, fitting // 2, -1) if queries % size == 0), fitting)


def _parts(x: jax.Array, size: int) -> jax.Array:
    """[b, q, d] -> [q / size, b, size, d], filled up with zeros."""
    filled = jnp.pad(x, ((0, 0), (0, -x.shape[1] % size), (0, 0)))
    return filled.reshape(x.shape[0], -1, size, x.shape[-1]).swapaxes(0, 1)


def _whole(parts: jax.Array, q: jax.Array) -> jax.Array:
    """The other way, for as many rows as `q` has."""
    return parts.swapaxes(0, 1).reshape(q.shape[0], -1, parts.shape[-1])[:, : q.shape[1]]


_einsum = partial(jnp.einsum, preferred_element_type=jnp.float32)
_heads_first = partial(jnp.moveaxis, source=2, destination=0)
_heads_back = partial(jnp.moveaxis, source=0, destination=2)
