"""Batches of arrays held in memory, in a seeded order, resumable."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


class ArrayBatches:
    """Endless iterator over shuffled batches of `arrays`, all of one length n; "id" is added where there is none.

    Each epoch has its own permutation, drawn from (seed, epoch); an incomplete last batch is dropped. The
    position is one integer, so `get_state` and `set_state` resume exactly. On many hosts each takes its part of
    every batch.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], *, batch_size: int, seed: int):
        self._arrays = {"id": np.arange(len(next(iter(arrays.values())))), **arrays}
        self._length = len(self._arrays["id"])
        if self._length < batch_size:
            raise ValueError(f"batch_size {batch_size} is larger than the data set of {self._length}; use fewer")
        self._batch_size, self._seed, self._position, self._order = batch_size, seed, 0, (-1, None)

    def __next__(self) -> dict[str, np.ndarray]:
        epoch, batch = divmod(self._position, self._length // self._batch_size)
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self._seed, epoch)).permutation(self._length)
        hosts = jax.process_count()
        rows = self._order[1][batch * self._batch_size : (batch + 1) * self._batch_size]
        rows = np.split(rows, hosts)[jax.process_index()]
        self._position += 1
        return {name: array[rows] for name, array in self._arrays.items()}

    def get_state(self) -> dict[str, Any]:
        return {"position": self._position}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._position = int(state["position"])
