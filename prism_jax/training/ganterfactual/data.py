"""Images without and with an attribute: arrays in memory, and batches with equally many of both kinds."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from prism_jax.data import targets
from prism_jax.training import examples
from prism_jax.training.array_batches import ArrayBatches
from prism_jax.training.examples import Data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sides:
    """n images, each labelled as with or without the attribute."""

    images: np.ndarray  # uint8 [n, h, w, 1]
    has: np.ndarray  # bool [n]
    ids: np.ndarray  # int64 [n], places in the order of the build
    patients: np.ndarray  # str [n]


def load(data: Data, attribute: str) -> Sides:
    """The images of `data`; prints the number of each kind.

    Raises:
      ValueError: there is no such data set, or it has no image with the attribute, or none without.
    """
    images = examples.load(data)
    states = targets.values(images.attributes, [attribute])[:, 0]
    labelled = np.flatnonzero(~np.isnan(states))
    has = states[labelled] == 1
    counts = f"{np.sum(~has)} images without {attribute}, {np.sum(has)} with it, of {len(states)}"
    if not 0 < has.sum() < len(has):
        raise ValueError(f"{data.folder} {data.split}: {counts}; name an attribute of which it has both")
    print(f"{data.folder} {data.split}: {counts}", file=sys.stderr)
    return Sides(images=images.images[labelled, ..., None], has=has, ids=labelled, patients=images.patients[labelled])


class UnpairedBatches:
    """Endless batches: "absent" and "present" uint8 [b, h, w, 1], and "id" int64 [b, 2], the ids of both.

    A class for its position. The rarer kind comes round more often; each is shuffled on its own.
    """

    def __init__(self, sides: Sides, *, batch_size: int, seed: int):
        self._sides = {}
        for has, kind in enumerate(("absent", "present")):
            arrays = {"image": sides.images[sides.has == has], "id": sides.ids[sides.has == has]}
            self._sides[kind] = ArrayBatches(arrays, batch_size=batch_size, seed=2 * seed + has)

    def __next__(self) -> dict[str, np.ndarray]:
        drawn = {kind: next(batches) for kind, batches in self._sides.items()}
        ids = np.stack([batch["id"] for batch in drawn.values()], axis=1)
        return {kind: batch["image"] for kind, batch in drawn.items()} | {"id": ids}

    def get_state(self) -> dict[str, Any]:
        return {kind: batches.get_state() for kind, batches in self._sides.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        for kind, batches in self._sides.items():
            batches.set_state(state[kind])
