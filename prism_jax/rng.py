"""Random keys: one seed per run, named streams, keys derived where they are used.

Adding a stream never shifts the others, and per-example keys make a draw independent of batch size and number
of devices.
"""

import zlib

import jax
import numpy as np


def key(seed: int) -> jax.Array:
    """The root key of a run."""
    return jax.random.key(seed)


def stream(root: jax.Array, name: str) -> jax.Array:
    """The key of the stream `name`. crc32 rather than hash(): Python salts the latter in every process."""
    return jax.random.fold_in(root, np.uint32(zlib.crc32(name.encode())))


def at_step(key: jax.Array, step: int | jax.Array) -> jax.Array:
    """The key of a stream at one training step."""
    return jax.random.fold_in(key, step)


def per_example(key: jax.Array, ids: jax.Array) -> jax.Array:
    """Keys [b], one for each example id: uint32 [b]."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, ids)


def example_ids(ids: np.ndarray) -> np.ndarray:
    """int64 [b] example ids as the uint32 [b] that `per_example` folds in: devices hold no 64-bit integers."""
    return (np.asarray(ids) & 0xFFFFFFFF).astype(np.uint32)
