"""Which example comes when: pure functions of (seed, step, slot), so that any part of any epoch can be asked for.

A batch over all processes together has as many slots as it has examples, and each process fills its own. What stands
in a slot does not depend on who fills it: one, two or four processes together see the same batches in the same order.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CACHED_PERMUTATIONS = 128  # permutations that are remembered; those of more slots are short, and soon made again


class Draw(NamedTuple):
    """What stands in one slot of one batch."""

    dataset: int  # data set of a mixture; 0 where there is one
    index: int  # example in it
    epoch: int  # how often the data set was gone through before
    is_real: bool  # False where the example only fills the batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochSampler:
    """Every example of one data set once an epoch.

    Slot j has the slice j, j + slots, j + 2 slots, ... of the data set, and shuffles it anew in every epoch. With
    `drops_remainder` an epoch ends with the last full batch; which examples that leaves out changes from epoch to
    epoch, if it is shuffled. Otherwise slots without an example are filled with the first.
    """

    count: int  # of examples
    slots: int  # size of a batch over all processes
    seed: int | None  # None: in order
    drops_remainder: bool

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return self.count // self.slots if self.drops_remainder else -(-self.count // self.slots)

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
    """Examples of one data set that are drawn equally often."""

    dataset: int
    indices: Sequence[int] | range
    weight: int  # of the draws, relative to that of other pools


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightedSampler:
    """Draws without end from several pools, each as often as its weight says, in every batch as nearly as can be.

    A pool is gone through in a shuffled order, then in another; one with few examples and a large weight starts anew
    more often.
    """

    pools: tuple[Pool, ...]
    slots: int
    seed: int

    @property
    def steps(self) -> int:
        return sys.maxsize

    def __call__(self, step: int, slot: int) -> Draw:
        number, drawn = weighted_turn(step * self.slots + slot, [pool.weight for pool in self.pools])
        pool = self.pools[number]
        epoch, place = divmod(drawn, len(pool.indices))
        place = shuffled(place, len(pool.indices), self.seed, "pool", epoch, number)
        return Draw(dataset=pool.dataset, index=int(pool.indices[place]), epoch=epoch, is_real=True)


def weighted_turn(place: int, weights: Sequence[int]) -> tuple[int, int]:
    """(whose turn it is at a place of an endless sequence, how many turns they had before), taken evenly by weight."""
    left = sum(weights)
    before, after = place, place + 1
    for number, weight in enumerate(weights):
        others_before, others_after = before * (left - weight) // left, after * (left - weight) // left
        if others_before == others_after:  # the place is not among the others'
            return number, before - others_before
        before, after, left = others_before, others_after, left - weight
    raise AssertionError("the last weight takes what is left")


def shuffled(place: int, length: int, *stream: int | str) -> int:
    """What stands at `place` of the permutation of 0 ... `length` - 1 that the stream names."""
    return int(_permutation(length, stream)[place])


@functools.lru_cache(maxsize=CACHED_PERMUTATIONS)
def _permutation(length: int, stream: tuple[int | str, ...]) -> np.ndarray:
    # Grain's index_shuffle would need no memory, but takes 30 ms where a slice has ten examples.
    digest = hashlib.blake2b("/".join(map(str, stream)).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest)).permutation(length).astype(np.int32)
