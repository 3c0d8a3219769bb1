"""Attention is the same on every path: fused, in parts, and by explicit maps."""

import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.models import attention, streamed
from prism_jax.models.attention import Attention, Site
from tests.conftest import untrained

B, QUERIES, KEYS, HEADS, WIDTH = 2, 11, 20, 3, 8  # no part of eleven queries is as long as the others


class Unchanged:
    """A control that takes the explicit path and alters nothing."""

    def replace_self_attention(self, q, k, site):
        return q, k

    def edit_cross_attention(self, probs, site):
        return probs


@pytest.fixture
def qkv() -> tuple[jax.Array, ...]:
    draw = np.random.default_rng(0)
    lengths = (QUERIES, KEYS, KEYS)
    return tuple(jnp.asarray(draw.normal(size=(B, n, HEADS, WIDTH)), jnp.float32) for n in lengths)


def xla(q, k, v, **options):
    return jax.nn.dot_product_attention(q, k, v, implementation="xla", **options)


def plain(q, k, v):
    """Attention as its formula says."""
    weights = jax.nn.softmax(jnp.einsum("bqnd,bknd->bnqk", q, k) * q.shape[-1] ** -0.5)
    return jnp.einsum("bnqk,bknd->bqnd", weights, v)


def weighted_sum(attend, q, k, v):
    """A scalar whose gradient reaches every entry differently."""
    return jnp.sum(jnp.sin(attend(q, k, v)))


def largest_array_of_backward_pass(q) -> int:
    """Entries of the largest array that the gradient of self-attention makes."""
    gradient = jax.grad(lambda q: weighted_sum(attention.dot_product_attention, q, q, q))
    shapes = re.findall(r"f32\[([\d,]+)\]", str(jax.make_jaxpr(gradient)(q)))
    return max(math.prod(map(int, shape.split(","))) for shape in shapes)


@pytest.mark.parametrize("largest", [1, 5 * KEYS, QUERIES * KEYS, 3 * QUERIES * KEYS, B * 3 * QUERIES * KEYS])
def test_attention_in_parts_equals_whole_in_value_and_gradient(largest, qkv):
    """Of one query, some queries, one head, one image, all."""
    in_parts = lambda q, k, v: streamed.attention(q, k, v, largest)
    whole, whole_gradients = jax.value_and_grad(weighted_sum, (1, 2, 3))(xla, *qkv)
    parts, gradients = jax.value_and_grad(weighted_sum, (1, 2, 3))(in_parts, *qkv)
    np.testing.assert_allclose(in_parts(*qkv), xla(*qkv), atol=1e-5)
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), gradients, whole_gradients)


@pytest.mark.parametrize("largest", [5 * KEYS, QUERIES * KEYS, 3 * QUERIES * KEYS])
def test_the_gradient_of_attention_in_parts_is_that_of_autodiff_in_float64(largest, qkv):
    """Products accumulate in float32, and their rounding is all that may differ."""
    with jax.enable_x64(True):
        exact = tuple(jnp.asarray(np.asarray(x), jnp.float64) for x in qkv)
        gradients = jax.grad(partial(weighted_sum, lambda *qkv: streamed.attention(*qkv, largest)), (0, 1, 2))(*qkv)
        expected = jax.grad(partial(weighted_sum, plain), (0, 1, 2))(*exact)
    for got, wanted in zip(gradients, expected, strict=True):
        assert (got.dtype, wanted.dtype) == (jnp.float32, jnp.float64)
        np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_the_gradient_of_attention_in_parts_keeps_bfloat16(qkv):
    narrow = tuple(x.astype(jnp.bfloat16) for x in qkv)
    gradients = jax.grad(partial(weighted_sum, lambda *qkv: streamed.attention(*qkv, 5 * KEYS)), (0, 1, 2))(*narrow)
    expected = jax.grad(partial(weighted_sum, plain), (0, 1, 2))(*(x.astype(jnp.float32) for x in narrow))
    for got, wanted in zip(gradients, expected, strict=True):
        assert got.dtype == jnp.bfloat16
        np.testing.assert_allclose(got.astype(jnp.float32), wanted, atol=2e-2)


def test_attention_in_parts_survives_logits_of_any_size(qkv):
    """Of logits up to 1e5 one weight is 1 and the others are 0; without care their exponentials overflow."""
    q, k, v = qkv[0] * 1e4, qkv[1], qkv[2]
    parts = streamed.attention(q, k, v, B * KEYS)
    np.testing.assert_allclose(parts, xla(q, k, v), atol=1e-5)


def test_large_maps_never_exist_whole_in_either_direction(monkeypatch):
    q = jnp.zeros((1, 64, 1, WIDTH))
    assert largest_array_of_backward_pass(q) == 64 * 64
    monkeypatch.setattr(attention, "LARGEST_MAPS_CPU", 4 * 64)
    assert largest_array_of_backward_pass(q) == 64 * WIDTH


def test_parts_are_as_large_as_allowed():
    plan = lambda largest: streamed.make_plan(6, 64, 4, 32, largest)
    assert [plan(64 * 32 * maps) for maps in (1, 3, 8, 17, 100)] == [
        (1, 1, 64),
        (1, 2, 64),  # of four heads three would leave one
        (2, 4, 64),
        (3, 4, 64),
        (6, 4, 64),
    ]
    assert plan(32 * 20) == (1, 1, 16)


def test_causal_attention_stays_causal_however_large(qkv, monkeypatch):
    q, k, v = qkv[0], qkv[1][:, :QUERIES], qkv[2][:, :QUERIES]
    monkeypatch.setattr(attention, "LARGEST_MAPS_CPU", 1)
    causal = attention.dot_product_attention(q, k, v, is_causal=True)
    np.testing.assert_allclose(causal, xla(q, k, v, is_causal=True), atol=1e-6)
    np.testing.assert_allclose(causal[:, 0], v[:, 0], atol=1e-6)


def test_explicit_maps_give_what_the_fused_path_gives(qkv):
    q, k, v = qkv
    probs = attention.attention_probs(q, k)
    np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(jnp.einsum("bnqk,bknd->bqnd", probs, v), xla(q, k, v), atol=1e-5)


@pytest.mark.parametrize("context_dim", [None, 16])
def test_a_control_that_changes_nothing_changes_nothing(context_dim):
    make = lambda options, *, rngs: Attention(24, **options, rngs=rngs)
    layer = untrained(make, dict(heads=3, context_dim=context_dim, bias=False, dtype=jnp.float32))
    draw = np.random.default_rng(1)
    x = jnp.asarray(draw.normal(size=(2, 16, 24)), jnp.float32)
    context = (jnp.asarray(draw.normal(size=(2, 77, 16)), jnp.float32),) if context_dim else ()
    site = Site(place="down", is_cross=context_dim is not None, height=4, width=4)
    np.testing.assert_allclose(layer(x, context, Unchanged(), site), layer(x, context), atol=1e-5)


@pytest.mark.parametrize(
    ("backend", "dtype", "head_dim", "allowed"),
    [
        ("gpu", jnp.bfloat16, 40, True),
        ("gpu", jnp.float16, 128, True),
        ("gpu", jnp.bfloat16, 160, False),  # SD 1.5's deepest layers
        ("gpu", jnp.bfloat16, 20, False),
        ("gpu", jnp.float32, 64, False),
        ("cpu", jnp.bfloat16, 64, False),
        ("tpu", jnp.bfloat16, 64, False),
    ],
)
def test_cudnn_is_used_only_where_it_is_allowed(backend, dtype, head_dim, allowed, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    asked = []
    monkeypatch.setattr(jax.nn, "dot_product_attention", lambda *_, implementation, **__: asked.append(implementation))
    q = jnp.zeros((1, 2, 1, head_dim), dtype)
    attention.dot_product_attention(q, q, q)
    assert asked == ["cudnn" if allowed else "xla"]


@pytest.mark.parametrize(("queries", "keys", "is_causal"), [(16, 77, False), (7, 7, True), (16, 8, False)])
def test_odd_numbers_of_keys_are_padded_for_cudnn(queries, keys, is_causal, monkeypatch):
    """JAX refuses the gradient of cuDNN's attention over odd numbers; here XLA computes in its place."""
    draw = np.random.default_rng(2)
    q, k, v = (jnp.asarray(draw.normal(size=(2, n, 3, 8)), jnp.float32) for n in (queries, keys, keys))
    shapes, original = [], jax.nn.dot_product_attention

    def attend(q, k, v, *, implementation, **options):
        assert implementation == "cudnn"
        shapes.append((q.shape[1] % 2, k.shape[1] % 2))
        return original(q, k, v, implementation="xla", **options)

    expected = jax.grad(lambda *x: jnp.sum(xla(*x, is_causal=is_causal) ** 2), (0, 1, 2))(q, k, v)
    monkeypatch.setattr(jax.nn, "dot_product_attention", attend)
    padded = lambda *x: jnp.sum(attention._cudnn(*x, is_causal=is_causal) ** 2)
    for ours, theirs in zip(jax.grad(padded, (0, 1, 2))(q, k, v), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert shapes == [(0, 0)]
