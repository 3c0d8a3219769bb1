"""Images with all attributes of a causal graph, as arrays in memory."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from tqdm import tqdm

from prism_jax.data import transforms
from prism_jax.data.schema import Example
from prism_jax.data.sources import morphomnist
from prism_jax.pixels import to_uint8
from prism_jax.scm import observations
from prism_jax.scm.graph import Graph


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observed:
    """n images whose attributes in the graph are all known."""

    images: np.ndarray  # uint8 [n, h, w, 1]
    parents: np.ndarray  # float32 [n, p], as `Graph.parents_vector` has them
    attributes: Mapping[str, np.ndarray]  # [n], in their own units
    ids: np.ndarray  # int64 [n]
    subjects: np.ndarray  # [n] subject of each image

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays for `ArrayBatches`: "image", "parents", "id", and every attribute under its name."""
        return {"image": self.images, "parents": self.parents, "id": self.ids, **self.attributes}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Digits:
    """A split of Morpho-MNIST, in its published files."""

    folder: str = "data/morphomnist"
    split: Literal["train", "val", "test"] = "train"
    size: int = 32
    """Side in pixels; the 28 x 28 digits are padded."""
    limit: int | None = None
    """Number of digits to use, the first ones; None: all."""


def of_digits(data: Digits, graph: Graph) -> Observed:
    """The digits of `data`; prints which they are."""
    part = morphomnist.read(data.folder, data.split)
    print(f"{data.folder} {data.split}: {part.origin}", file=sys.stderr)
    rows = slice(data.limit)
    attributes = {name: column[rows] for name, column in part.attributes.items()}
    return of_columns(morphomnist.padded(part.images[rows], data.size), attributes, part.ids[rows], graph)


def of_examples(source: Sequence[Example], graph: Graph, *, size: int, fit: transforms.Fit, name: str) -> Observed:
    """The examples whose attributes in `graph` are all known, as images of `size`; prints how many are left out.

    Raises:
      ValueError: there are none; `name` is the source in the message.
    """
    places, columns = observations.observe_all(source, graph, name)
    images, ids, subjects = np.empty((len(places), size, size, 1), np.uint8), [], []
    for i, place in enumerate(tqdm(places, desc=f"reading {name}", unit="image", mininterval=5)):
        example = source[place]
        image = transforms.to_input(transforms.decode(example.image), size, fit, factor=1)
        images[i] = to_uint8(image[..., :1])
        ids.append(example.id)
        subjects.append(example.patient)
    return of_columns(images, columns, np.array(ids, np.int64), graph, subjects=np.array(subjects))


def of_columns(
    images: np.ndarray,
    attributes: Mapping[str, np.ndarray],
    ids: np.ndarray,
    graph: Graph,
    *,
    subjects: np.ndarray | None = None,
) -> Observed:
    """`Observed` of uint8 images [n, h, w, 1] and attributes [n] by name; no `subjects`: each image is another one."""
    parents = np.asarray(graph.parents_vector(attributes), np.float32)
    own = ids if subjects is None else subjects
    return Observed(images=images, parents=parents, attributes=attributes, ids=ids, subjects=own)
