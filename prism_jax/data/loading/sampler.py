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

KEPT = 128  # permutations that are remembered; those of more slots are short, and soon made again


class Draw(NamedTuple):
    """What stands in one slot of one batch."""

    part: int  # data set of a mixture; 0 where there is one
    index: int  # example in it
    turn: int  # how often the data set was gone through before
    is_real: bool  # False where the example only fills the batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Epochs:
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
            return Draw(part=0, index=0, turn=epoch, is_real=False)
        if self.seed is not None:
            place = shuffled(place, length, self.seed, "epoch", epoch, slot)
        return Draw(part=0, index=slot + place * self.slots, turn=epoch, is_real=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
    """Examples of one data set that are drawn equally often."""

    part: int
    indices: Sequence[int] | range
    share: int  # of the draws, relative to that of other pools


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shares:
    """Draws without end from several pools, each as often as its share says, in every batch as nearly as can be.

    A pool is gone through in a shuffled order, then in another; one with few examples and a large share starts anew
    more often.
    """

    pools: tuple[Pool, ...]
    slots: int
    seed: int

    @property
    def steps(self) -> int:
        return sys.maxsize

    def __call__(self, step: int, slot: int) -> Draw:
        number, drawn = turn_of(step * self.slots + slot, [pool.share for pool in self.pools])
        pool = self.pools[number]
        turn, place = divmod(drawn, len(pool.indices))
        place = shuffled(place, len(pool.indices), self.seed, "pool", turn, number)
        return Draw(part=pool.part, index=int(pool.indices[place]), turn=turn, is_real=True)


def turn_of(place: int, shares: Sequence[int]) -> tuple[int, int]:
    """(whose turn it is at a place of an endless sequence, how many turns they had before), taken evenly by share."""
    left = sum(shares)
    before, after = place, place + 1
    for number, share in enumerate(shares):
        others_before, others_after = before * (left - share) // left, after * (left - share) // left
        if others_before == others_after:  # the place is not among the others'
            return number, before - others_before
        before, after, left = others_before, others_after, left - share
    raise AssertionError("the last share takes what is left")


def shuffled(place: int, length: int, *stream: int | str) -> int:
    """What stands at `place` of the permutation of 0 ... `length` - 1 that the stream names."""
    return int(_permutation(length, stream)[place])


@functools.lru_cache(maxsize=KEPT)
def _permutation(length: int, stream: tuple[int | str, ...]) -> np.ndarray:
    # Grain's index_shuffle would need no memory, but takes 30 ms where a slice has ten examples.
    digest = hashlib.blake2b("/".join(map(str, stream)).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest)).permutation(length).astype(np.int32)
