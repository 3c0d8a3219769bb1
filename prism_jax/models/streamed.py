"""Attention in parts: its maps never exist whole, in either direction (Dao et al. 2022).

"FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness", arXiv 2205.14135.

At 64x64 latents whole maps are 0.5 GB per image and layer in SD 1.5; on a CPU parts that fit its cache are also several
times faster.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

Arrays = tuple[jax.Array, ...]


class Plan(NamedTuple):
    """Block sizes: images, heads and queries processed at once."""

    images: int
    heads: int  # of each of these images
    queries: int  # of each of these heads


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def attention(q: jax.Array, k: jax.Array, v: jax.Array, largest: int) -> jax.Array:
    """Attention of `[b, q, n, d]` over `[b, k, n, d]`, in maps of up to `largest` entries a device; softmax in float32.

    In a program sharded over a mesh, `jax.set_mesh` must be active.
    """
    return _forward(q, k, v, largest)[0]


def _forward(q: jax.Array, k: jax.Array, v: jax.Array, largest: int) -> tuple[jax.Array, Arrays]:
    plan = make_plan(*q.shape[:3], k.shape[1], largest)
    outputs, logsums = jax.lax.map(partial(_outputs, plan), tuple(_parts(x, plan) for x in (q, k, v)))
    return _whole(outputs, q, plan), (q, k, v, outputs, logsums)


def _backward(largest: int, kept: Arrays, cotangent: jax.Array) -> Arrays:
    q, k, v, outputs, logsums = kept
    plan = make_plan(*q.shape[:3], k.shape[1], largest)
    *parts, cotangents = (_parts(x, plan) for x in (q, k, v, cotangent))
    gradients = jax.lax.map(partial(_gradients, plan), (*parts, outputs, logsums, cotangents))
    return tuple(_whole(gradient, x, plan) for gradient, x in zip(gradients, (q, k, v), strict=True))


attention.defvjp(_forward, _backward)


def make_plan(b: int, queries: int, n: int, keys: int, largest: int) -> Plan:
    """The most that has maps of up to `largest` entries a device: heads first, then images, or else a few queries."""
    mesh = jax.sharding.get_abstract_mesh()
    devices = math.prod(size for axis, size in mesh.shape.items() if axis not in mesh.manual_axes)
    if b % devices:
        devices = b  # each device works on all
    fitting = largest // (queries * keys)  # whole maps
    heads = _divisor(n, fitting)
    images = devices * (_divisor(b // devices, fitting // n) if heads == n else 1)
    # A number that divides the queries needs no filling; one is near for sides of powers of two, none for CLIP's 257.
    few = min(max(1, largest // keys), queries)
    return Plan(images, heads, next((size for size in range(few, few // 2, -1) if queries % size == 0), few))


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` up to `limit`, at least 1."""
    return next(i for i in range(min(max(limit, 1), number), 0, -1) if number % i == 0)


def _outputs(plan: Plan, heads: Arrays) -> Arrays:
    """Outputs of some heads, [h, q, d], and the log-sum-exp of their logits, [h, q, 1]."""
    q, k, v = heads
    scale = q.shape[-1] ** -0.5

    def some_queries(q: jax.Array) -> Arrays:
        logits = _einsum("hqd,hkd->hqk", q, k)
        highest = logits.max(-1, keepdims=True)
        weights = jnp.exp((logits - highest) * scale)
        total = weights.sum(-1, keepdims=True)
        out = _einsum("hqk,hkd->hqd", weights.astype(v.dtype), v) / total
        return out.astype(v.dtype), highest * scale + jnp.log(total)

    return tuple(_joined(x, q) for x in jax.lax.map(some_queries, _cut(q, plan)))


def _gradients(plan: Plan, heads: Arrays) -> Arrays:
    """Gradients of the queries, keys and values of some heads.

    Maps are recomputed, transposed: all products then run along their rows, that for the queries because its small
    result is transposed as well. XLA's CPU backend has fast kernels for such products only.
    """
    q, k, v, outputs, logsums, cotangent = heads
    scale = q.shape[-1] ** -0.5
    shift = jnp.sum(cotangent.astype(jnp.float32) * outputs, -1, keepdims=True)  # [h, q, 1]
    columns = k.swapaxes(1, 2)  # [h, d, k]

    def some_queries(sums: Arrays, few: Arrays) -> tuple[Arrays, jax.Array]:
        of_keys, of_values = sums  # [h, k, d]
        q, logsum, cotangent, shift = few
        maps = jnp.exp(_einsum("hkd,hqd->hkq", k, q) * scale - logsum.swapaxes(1, 2))
        of_values += _einsum("hkq,hqd->hkd", maps.astype(v.dtype), cotangent)
        of_logits = maps * (_einsum("hkd,hqd->hkq", v, cotangent) - shift.swapaxes(1, 2)) * scale
        of_logits = of_logits.astype(q.dtype)
        of_keys += _einsum("hkq,hqd->hkd", of_logits, q)
        return (of_keys, of_values), _einsum("hdk,hkq->hdq", columns, of_logits).swapaxes(1, 2).astype(q.dtype)

    empty = tuple(jnp.zeros(x.shape, jnp.float32) for x in (k, v))
    cuts = tuple(_cut(x, plan) for x in (q, logsums, cotangent, shift))
    (of_keys, of_values), of_queries = jax.lax.scan(some_queries, empty, cuts)
    return _joined(of_queries, q), of_keys.astype(k.dtype), of_values.astype(v.dtype)


def _parts(x: jax.Array, plan: Plan) -> jax.Array:
    """[b, q, n, d] -> [parts, h, q, d].

    The images of a part are those of different devices: a loop over an axis that is cut would first gather it on each.
    """
    (b, length, n, d), (m, h, _) = x.shape, plan
    split = x.reshape(m, b // m, length, n // h, h, d)
    return split.transpose(1, 3, 0, 4, 2, 5).reshape(-1, m * h, length, d)


def _whole(parts: jax.Array, like: jax.Array, plan: Plan) -> jax.Array:
    """The other way, to the shape of `like`."""
    (b, length, n, d), (m, h, _) = like.shape, plan
    split = parts.reshape(b // m, n // h, m, h, length, d)
    return split.transpose(2, 0, 4, 1, 3, 5).reshape(like.shape)


def _cut(x: jax.Array, plan: Plan) -> jax.Array:
    """[h, q, d] -> [q / few, h, few, d], filled up with zeros."""
    filled = jnp.pad(x, ((0, 0), (0, -x.shape[1] % plan.queries), (0, 0)))
    return filled.reshape(x.shape[0], -1, plan.queries, x.shape[-1]).swapaxes(0, 1)


def _joined(cut: jax.Array, like: jax.Array) -> jax.Array:
    """The other way, for as many queries as `like` has."""
    return cut.swapaxes(0, 1).reshape(like.shape[0], -1, cut.shape[-1])[:, : like.shape[1]]


_einsum = partial(jnp.einsum, preferred_element_type=jnp.float32)
