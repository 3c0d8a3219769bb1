"""Image history buffer: earlier generated images, shown to discriminators beside new ones.

Shrivastava et al. 2017, arXiv 1612.07828.

A pytree of fixed shapes: part of the training state, so that a resumed run has the same images.
"""

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Pool:
    """Up to n images."""

    images: jax.Array  # float32 [n, h, w, c]
    count: jax.Array  # int32 [], how many there are; the rest is 0


def exchanged(pool: Pool, images: jax.Array, keys: jax.Array) -> tuple[jax.Array, Pool]:
    """For each of `images` [b, h, w, c] in order, that image or an older one; and the pool afterwards.

    Until the pool is full, each image is stored and returned. Then, with probability 1/2, an image is returned without
    being stored; otherwise it replaces a stored image, drawn uniformly, which is returned instead. `keys` [b], one for
    each image.
    """
    size = len(pool.images)

    def exchange(pool: Pool, given: tuple[jax.Array, jax.Array]) -> tuple[Pool, jax.Array]:
        image, key = given
        coin, which = jax.random.split(key)
        is_filling = pool.count < size
        is_swapped = ~is_filling & jax.random.bernoulli(coin)
        place = jnp.where(is_filling, pool.count, jax.random.randint(which, (), 0, size))
        shown = jnp.where(is_swapped, pool.images[place], image)
        kept = jnp.where(is_filling | is_swapped, image, pool.images[place])
        return Pool(images=pool.images.at[place].set(kept), count=pool.count + is_filling), shown

    pool, shown = jax.lax.scan(exchange, pool, (images, keys))
    return shown, pool
