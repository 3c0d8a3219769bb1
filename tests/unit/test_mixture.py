"""Mixtures: draws by weight, classes equally often, every example of a pool as often as any other."""

import collections
import dataclasses

import numpy as np
import pytest

from prism_jax.data.loading import mixture, pipeline
from tests.unit.test_pipeline import flat, make


def drawn(mixed: mixture.Mixture, steps: int, *, slots: int = 8, seed: int = 0) -> list[list[tuple[int, int]]]:
    """(data set, index) of every slot of every step."""
    sampler = mixture.weighted_sampler(mixed, slots=slots, seed=seed)
    return [[sampler(step, slot)[:2] for slot in range(slots)] for step in range(steps)]


def test_data_sets_come_by_weight_in_every_batch_whatever_their_size():
    mixed = mixture.Mixture(
        components=(mixture.Component(examples=make(100), weight=3.0), mixture.Component(examples=make(5), weight=1.0))
    )
    for batch in drawn(mixed, 50):
        assert abs([part for part, _ in batch].count(1) - 2) <= 1


def test_every_example_of_a_data_set_comes_as_often_as_any_other():
    mixed = mixture.Mixture(
        components=(mixture.Component(examples=make(30), weight=0.3), mixture.Component(examples=make(7), weight=0.7))
    )
    counts = collections.Counter(flat(drawn(mixed, 100)))
    for part in range(2):
        of_part = [count for (number, _), count in counts.items() if number == part]
        assert max(of_part) - min(of_part) <= 1
        assert len(of_part) == len(mixed.components[part].examples)


def test_classes_of_one_data_set_come_equally_often():
    classes = np.array([0] * 90 + [1] * 9 + [-1] * 3)
    batches = drawn(mixture.Mixture(components=(mixture.Component(examples=make(102), classes=classes),)), 100)
    for batch in batches:
        assert sum(classes[index] for _, index in batch) == 4
    assert {index for _, index in flat(batches)} == set(range(99))  # no class, never drawn


def test_classes_divide_the_weight_of_their_data_set():
    classes = np.array([0, 1, 2])
    mixed = mixture.Mixture(
        components=(
            mixture.Component(examples=make(3), classes=classes),
            mixture.Component(examples=make(50), weight=1.0),
        )
    )
    parts = [part for part, _ in flat(drawn(mixed, 100))]
    assert abs(parts.count(0) - 400) <= 3


def test_a_mixture_fills_batches():
    others = [dataclasses.replace(example, id=example.id + 100) for example in make(4)]
    mixed = mixture.Mixture(components=(mixture.Component(examples=make(6)), mixture.Component(examples=others)))
    batch = next(pipeline.batches(mixed, 4, size=8, seed=0))
    assert sorted((batch["id"] >= 100).tolist()) == [False, False, True, True]
    assert batch["mask"].all()


@pytest.mark.parametrize("process_count", [2, 4])
def test_processes_together_see_one_mixture(process_count):
    mixed = mixture.Mixture(
        components=(mixture.Component(examples=make(6), weight=2.0), mixture.Component(examples=make(4)))
    )
    options = {"size": 8, "seed": 0}
    alone = pipeline.batches(mixed, 8, **options)
    together = [
        pipeline.batches(mixed, 8 // process_count, process_index=i, process_count=process_count, **options)
        for i in range(process_count)
    ]
    for _ in range(6):
        want, parts = next(alone), [next(stream) for stream in together]
        for key in ("id", "image"):
            np.testing.assert_array_equal(np.concatenate([part[key] for part in parts]), want[key])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weight": 0.0}, "weight must be above 0, got 0.0"),
        ({"examples": []}, "is empty; leave it out"),
        ({"classes": np.array([0])}, "1 classes for 3 examples"),
        ({"classes": np.array([-1, -1, -1])}, "no example belongs to a class"),
    ],
)
def test_a_component_without_examples_or_weight_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        mixture.Component(**{"examples": make(3)} | options)


def test_a_mixture_has_components_and_no_epochs():
    with pytest.raises(ValueError, match="at least one data set"):
        mixture.Mixture(components=())
    mixed = mixture.Mixture(components=(mixture.Component(examples=make(3)),))
    with pytest.raises(ValueError, match="give a seed"):
        pipeline.batches(mixed, 1, size=8)
