"""Images with the parents of a causal graph as arrays in memory, for the training of its image mechanism."""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from prism_jax import rng, sharding
from prism_jax.data import morphomnist, transforms
from prism_jax.scm import observations
from prism_jax.scm.graph import Graph
from train import examples
from train.examples import Data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observed:
    """n images of which everything in the graph is known."""

    images: np.ndarray  # uint8 [n, h, w, 1]
    parents: np.ndarray  # float32 [n, p], as `Graph.parents_vector` has them
    attributes: Mapping[str, np.ndarray]  # [n], in their own units
    ids: np.ndarray  # int64 [n]
    subjects: np.ndarray | None = None  # [n], whom each is of; None: everyone once

    def arrays(self) -> dict[str, np.ndarray]:
        """What `ArrayBatches` takes."""
        return {"image": self.images, "parents": self.parents, "id": self.ids}

    def labelled(self) -> dict[str, np.ndarray]:
        """The same with every attribute under its name."""
        return self.arrays() | dict(self.attributes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Digits:
    """Part of Morpho-MNIST, in the files as they are handed out."""

    folder: str = "data/morphomnist"
    split: Literal["train", "val", "test"] = "train"
    size: int = 32
    """Side in pixels; digits of 28 are padded."""
    limit: int | None = None
    """Take only so many, the first."""


def load(data: Data | Digits, graph: Graph) -> Observed:
    """The images of `data` of which everything in `graph` is known; says how many are not, or which digits they are.

    Raises:
      ValueError: there is no such data set, or nothing in it is known well enough.
    """
    return _digits(data, graph) if isinstance(data, Digits) else _examples(data, graph)


def _digits(data: Digits, graph: Graph) -> Observed:
    part = morphomnist.read(data.folder, data.split)
    print(f"{data.folder} {data.split}: {part.origin}", file=sys.stderr)
    rows = slice(data.limit)
    attributes = {name: column[rows] for name, column in part.attributes.items()}
    return of_columns(morphomnist.padded(part.images[rows], data.size), attributes, part.ids[rows], graph)


def _examples(data: Data, graph: Graph) -> Observed:
    source = examples.open_split(data)
    images, rows, ids, subjects = [], [], [], []
    for i in tqdm(range(len(source)), desc=f"reading {data.folder} {data.split}", unit="image", mininterval=5):
        example = source[i]
        found = observations.observe(example.attributes, graph)
        if found is None:
            continue
        picture = transforms.to_input(transforms.decode(example.image), data.size, data.fit, factor=1)
        images.append(transforms.to_uint8(picture[..., :1]))
        rows.append(found)
        ids.append(example.id)
        subjects.append(example.patient)
    if not rows:
        raise ValueError(
            f"no image of {data.folder} {data.split} has all of {', '.join(graph.names)}; name what it has"
        )
    if len(rows) < len(source):
        print(f"{len(source) - len(rows)} of {len(source)} images left out: not all is known of them", file=sys.stderr)
    found = of_columns(np.stack(images), observations.columns(rows, graph), np.array(ids, np.int64), graph)
    return dataclasses.replace(found, subjects=np.array(subjects))


def of_columns(images: np.ndarray, attributes: Mapping[str, np.ndarray], ids: np.ndarray, graph: Graph) -> Observed:
    """`Observed` of uint8 images [n, h, w, 1] and attributes [n] by name."""
    parents = np.asarray(graph.parents_vector(attributes), np.float32)
    return Observed(images=images, parents=parents, attributes=attributes, ids=ids)


def looked_over(look: Callable[[Any], Any], arrays: Mapping[str, np.ndarray], batch_size: int, mesh: Mesh) -> Any:
    """What `look(batch)` gives, a pytree of arrays [b, ...], of all n rows of `arrays`: [n, ...], on the host."""
    arrays = {**arrays, "id": rng.example_ids(arrays["id"])}
    results, count = [], len(arrays["id"])
    for start in range(0, count, batch_size):
        # The last batch is filled up with the last row, and cut again below.
        rows = np.minimum(np.arange(start, start + batch_size), count - 1)
        batch = sharding.put({name: array[rows] for name, array in arrays.items()}, sharding.over_batch(mesh))
        with jax.set_mesh(mesh):
            results.append(jax.device_get(look(batch)))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *results)


def to_float(image: jax.Array) -> jax.Array:
    """uint8 -> float32 in [-1, 1]."""
    return image.astype(jnp.float32) / 127.5 - 1


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
