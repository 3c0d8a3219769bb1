"""Samplers: pure functions from (seed, step, slot) to an example, so any step of any epoch can be computed directly.

A batch over all processes has one slot per example, and each process fills its own. The example in a slot does not
depend on the process that fills it: one, two or four processes together see the same batches in the same order.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CACHED_PERMUTATIONS = 128  # permutations; with more slots they are short and quickly recomputed


class Draw(NamedTuple):
    """The example in one slot of one batch."""

    dataset: int  # index in a mixture; 0 for a single data set
    index: int  # of the example in it
    epoch: int  # completed passes over the data set
    is_real: bool  # False for padding


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochSampler:
    """Every example of one data set once per epoch.

    Slot j has the slice j, j + slots, j + 2 slots, ... of the data set. With a seed it is reshuffled in every epoch,
    which ends with the last full batch; the dropped examples differ between epochs. Without one the examples come in
    order, and slots without an example are padded with the first.
    """

    count: int  # of examples
    slots: int  # size of a batch over all processes
    seed: int | None

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return -(-self.count // self.slots) if self.seed is None else self.count // self.slots

    def __call__(self, step: int, slot: int) -> Draw:
        epoch, place = divmod(step, self.steps)
        length = len(range(slot, self.count, self.slots))
        if place >= length:
            return Draw(dataset=0, index=0, epoch=epoch, is_real=False)
        if self.seed is not None:
            place = shuffled(place, length, self.seed, "epoch", epoch, slot)
        return Draw(dataset=0, index=slot + place * self.slots, epoch=epoch, is_real=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
    """Examples of one data set with equal probability."""

    dataset: int
    indices: Sequence[int] | range
    weight: int  # of the draws, relative to that of other pools


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightedSampler:
    """Endless draws from several pools in proportion to their weights, as closely as possible within every batch.

    Each pass over a pool has its own shuffled order; a small pool with a large weight is repeated more often.
    """

    pools: tuple[Pool, ...]
    slots: int
    seed: int

    def __call__(self, step: int, slot: int) -> Draw:
        number, drawn = weighted_turn(step * self.slots + slot, [pool.weight for pool in self.pools])
        pool = self.pools[number]
        epoch, place = divmod(drawn, len(pool.indices))
        place = shuffled(place, len(pool.indices), self.seed, "pool", epoch, number)
        return Draw(dataset=pool.dataset, index=int(pool.indices[place]), epoch=epoch, is_real=True)


def weighted_turn(place: int, weights: Sequence[int]) -> tuple[int, int]:
    """(Index at `place` of an endless sequence that interleaves the weights evenly, number of its earlier
    occurrences)."""
    left = sum(weights)
    before, after = place, place + 1
    for number, weight in enumerate(weights):
        others_before, others_after = before * (left - weight) // left, after * (left - weight) // left
        if others_before == others_after:  # the place does not belong to the others
            return number, before - others_before
        before, after, left = others_before, others_after, left - weight
    raise AssertionError("the last weight takes the rest")


def shuffled(place: int, length: int, *stream: int | str) -> int:
    """Element `place` of the permutation of 0 ... `length` - 1 seeded by `stream`."""
    return int(_permutation(length, stream)[place])


@functools.lru_cache(maxsize=CACHED_PERMUTATIONS)
def _permutation(length: int, stream: tuple[int | str, ...]) -> np.ndarray:
    # Grain's index_shuffle needs no memory, but takes 30 ms for a slice of ten examples.
    digest = hashlib.blake2b("/".join(map(str, stream)).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest)).permutation(length).astype(np.int32)
