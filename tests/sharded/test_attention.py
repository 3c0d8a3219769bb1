"""Attention in parts exchanges nothing between devices."""

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax import sharding
from prism_jax.models import streamed
from tests.jit.test_attention import HEADS, KEYS, QUERIES, WIDTH, B, qkv, weighted_sum, xla  # noqa: F401


def test_devices_work_on_their_own_images_without_exchange(qkv, monkeypatch):
    mesh = sharding.make_mesh()
    q = jax.device_put(jnp.tile(qkv[0], (8, 1, 1, 1)), sharding.batch_sharding(mesh))
    gradient = jax.jit(jax.grad(lambda q: weighted_sum(lambda *x: streamed.attention(*x, 5 * QUERIES), q, q, q)))
    with jax.set_mesh(mesh):
        compiled = gradient.lower(q).compile()
    assert "all-gather" not in compiled.as_text()
    whole = jax.grad(lambda q: weighted_sum(xla, q, q, q))(q)
    np.testing.assert_allclose(compiled(q), whole, atol=1e-5)
