"""Samplers: every example once per epoch, the same for any number of processes, and draws by weight without end."""

import collections

import numpy as np
import pytest

from prism_jax.data.loading import sampler


def epoch_of(drawn: sampler.EpochSampler, epoch: int, slots: range | None = None) -> list[list[int]]:
    """Real examples batch by batch."""
    steps = range(epoch * drawn.steps, (epoch + 1) * drawn.steps)
    batches = [[drawn(step, slot) for slot in slots or range(drawn.slots)] for step in steps]
    return [[draw.index for draw in batch if draw.is_real] for batch in batches]


def flat(lists: list[list]) -> list:
    return [item for items in lists for item in items]


@pytest.mark.parametrize("count", [1, 7, 8, 23, 64])
def test_every_example_comes_once_an_epoch(count):
    drawn = sampler.EpochSampler(count=count, slots=8, seed=None)
    for epoch in range(3):
        assert sorted(flat(epoch_of(drawn, epoch))) == list(range(count))


def test_without_a_seed_the_order_is_that_of_the_data():
    drawn = sampler.EpochSampler(count=10, slots=4, seed=None)
    assert epoch_of(drawn, 2) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_what_an_epoch_leaves_out_comes_in_another():
    drawn = sampler.EpochSampler(count=23, slots=8, seed=0)
    epochs = [flat(epoch_of(drawn, epoch)) for epoch in range(20)]
    assert all(len(set(epoch)) == len(epoch) == 16 for epoch in epochs)
    assert set(flat(epochs)) == set(range(23))


def test_a_slot_keeps_to_its_slice():
    drawn = sampler.EpochSampler(count=100, slots=8, seed=0)
    for slot in range(8):
        taken = flat(flat([epoch_of(drawn, epoch, range(slot, slot + 1)) for epoch in range(3)]))
        assert {index % 8 for index in taken} == {slot}


def test_every_epoch_is_shuffled_anew_and_evenly():
    drawn = sampler.EpochSampler(count=64, slots=4, seed=1)
    places = [flat(epoch_of(drawn, epoch)).index(20) // 4 for epoch in range(800)]  # batch in which one example comes
    counts = np.bincount(places, minlength=16)
    assert ((counts - 50) ** 2 / 50).sum() < 37.7  # chi square, 15 degrees of freedom, 0.1 %


def test_shuffling_is_a_permutation_and_every_one_is_equally_likely():
    for length in (1, 2, 17, 1000):
        assert sorted(sampler.shuffled(i, length, 7) for i in range(length)) == list(range(length))
    seen = collections.Counter(tuple(sampler.shuffled(i, 3, "seed", s) for i in range(3)) for s in range(3000))
    assert len(seen) == 6
    assert sum((count - 500) ** 2 / 500 for count in seen.values()) < 20.5  # chi square, 5 degrees, 0.1 %


@pytest.mark.parametrize("weights", [(1,), (1, 1), (3, 1), (1, 1000, 7), (5, 4, 3, 2, 1)])
def test_weights_hold_in_every_stretch_of_draws(weights):
    places = 2000
    turns = [sampler.weighted_turn(place, weights) for place in range(places)]
    for number, weight in enumerate(weights):
        mine = [i for i, (who, _) in enumerate(turns) if who == number]
        assert [turns[i][1] for i in mine] == list(range(len(mine)))  # counted without gaps
        due = weight / sum(weights) * np.arange(places + 1)
        had = np.concatenate([[0], np.cumsum([who == number for who, _ in turns])])
        assert np.abs(had - due).max() <= len(weights)
