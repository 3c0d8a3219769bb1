"""Images with all attributes of a causal graph, for training: loading and random shifts."""

import jax
import jax.numpy as jnp

from prism_jax.scm import observed
from prism_jax.scm.graph import Graph
from prism_jax.scm.observed import Digits, Observed
from prism_jax.training import examples
from prism_jax.training.examples import Data


def load(data: Data | Digits, graph: Graph) -> Observed:
    """The images of `data` that state every attribute of `graph`; prints how many were left out.

    Raises:
      ValueError: there is no such data set, or no image states every attribute.
    """
    if isinstance(data, Digits):
        return observed.of_digits(data, graph)
    name = f"{data.folder} {data.split}"
    return observed.of_examples(examples.open_split(data), graph, size=data.size, fit=data.fit, name=name)


def random_shift(images: jax.Array, keys: jax.Array, max_pixels: int) -> jax.Array:
    """Images [b, h, w, c] in [-1, 1] moved by up to `max_pixels` along each side, black beyond; keys [b].

    For digits padded by 2 and moved by up to 2 this is a random crop of 32 from 28 pixels padded by 4.
    """
    if not max_pixels:
        return images
    sides = (max_pixels, max_pixels)
    padded = jnp.pad(images, ((0, 0), sides, sides, (0, 0)), constant_values=-1.0)

    def cut(image: jax.Array, key: jax.Array) -> jax.Array:
        corner = jax.random.randint(key, (2,), 0, 2 * max_pixels + 1)
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])

    return jax.vmap(cut)(padded, keys)
