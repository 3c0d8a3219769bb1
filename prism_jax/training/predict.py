"""What the trainings of a causal model's networks share: reading their data, shifting it, looking over all of it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from prism_jax import rng, sharding
from prism_jax.scm import observed
from prism_jax.scm.graph import Graph
from prism_jax.scm.observed import Digits, Observed
from prism_jax.training import examples
from prism_jax.training.examples import Data


def load(data: Data | Digits, graph: Graph) -> Observed:
    """The images of `data` of which everything in `graph` is known; says how many are not, or which digits they are.

    Raises:
      ValueError: there is no such data set, or nothing in it is known well enough.
    """
    if isinstance(data, Digits):
        return observed.of_digits(data, graph)
    name = f"{data.folder} {data.split}"
    return observed.of_examples(examples.open_split(data), graph, size=data.size, fit=data.fit, name=name)


def looked_over(look: Callable[[Any], Any], arrays: Mapping[str, np.ndarray], batch_size: int, mesh: Mesh) -> Any:
    """What `look(batch)` gives, a pytree of arrays [b, ...], of all n rows of `arrays`: [n, ...], on the host."""
    arrays = {**arrays, "id": rng.example_ids(arrays["id"])}
    results, count = [], len(arrays["id"])
    for start in range(0, count, batch_size):
        # The last batch is filled up with the last row, and cut again below.
        rows = np.minimum(np.arange(start, start + batch_size), count - 1)
        batch = sharding.to_global({name: array[rows] for name, array in arrays.items()}, sharding.batch_sharding(mesh))
        with jax.set_mesh(mesh):
            results.append(jax.device_get(look(batch)))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *results)


def shifted(images: jax.Array, keys: jax.Array, most: int) -> jax.Array:
    """Images [b, h, w, c] in [-1, 1] moved by up to `most` pixels each way, black beyond; one key per image [b].

    Of digits that are padded by 2 and moved by 2, a random crop of 32 from 28 pixels padded by 4.
    """
    if not most:
        return images
    around = jnp.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), constant_values=-1.0)

    def cut(image: jax.Array, key: jax.Array) -> jax.Array:
        corner = jax.random.randint(key, (2,), 0, 2 * most + 1)
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])

    return jax.vmap(cut)(around, keys)
