"""The Grain pipeline: deterministic, resumable, disjoint over processes, padded where nothing may be lost."""

import json

import numpy as np
import pytest

from prism_jax.data import pipeline, schema, transforms


def make(count: int) -> list[schema.Example]:
    return [
        schema.Example(
            id=i,
            image=transforms.encode_png(np.full((8, 12), i, np.uint8)),
            height=8,
            width=12,
            patient=str(i),
            path="",
            subject=-1,
            attributes=schema.Attributes(age=i),
        )
        for i in range(count)
    ]


def ids(iterator, batches: int | None = None) -> list[list[int]]:
    """Ids batch by batch, without the filling."""
    taken = iterator if batches is None else (next(iterator) for _ in range(batches))
    return [batch["id"][batch["mask"]].tolist() for batch in taken]


def flat(lists: list[list]) -> list:
    return [item for items in lists for item in items]


TRAIN = {"size": 8, "shuffle": True, "epochs": None, "drop_remainder": True}


def test_a_batch_has_the_documented_keys_dtypes_and_ranges():
    batch = next(pipeline.batches(make(5), 4, size=(8, 16), fit="crop"))
    assert batch["image"].shape == (4, 8, 16, 3)
    assert batch["image"].dtype == np.float32
    np.testing.assert_allclose(batch["image"][3], 3 / 127.5 - 1, atol=1e-6)
    assert batch["caption"][3] == "Chest X-ray of a 3-year-old patient"
    assert batch["attributes"][3] == schema.Attributes(age=3)
    assert batch["id"].tolist() == [0, 1, 2, 3]
    assert (batch["id"].dtype, batch["subject"].dtype) == (np.int64, np.int64)
    assert batch["mask"].all()


def test_one_seed_gives_one_order_and_another_seed_another():
    first, again, other = (ids(pipeline.batches(make(20), 4, seed=s, **TRAIN), 10) for s in (3, 3, 4))
    assert first == again
    assert first != other


def test_the_number_of_threads_does_not_change_the_order():
    one, many = (ids(pipeline.batches(make(20), 4, threads=t, **TRAIN), 10) for t in (1, 8))
    assert one == many


def test_every_epoch_is_a_new_permutation():
    batches = ids(pipeline.batches(make(20), 5, **TRAIN), 8)
    first, second = flat(batches[:4]), flat(batches[4:])
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second


@pytest.mark.parametrize("steps", [0, 1, 3, 7])  # at the start, within and behind the first epoch of 5 batches
def test_an_iterator_restored_from_json_continues_identically(steps):
    iterator = pipeline.batches(make(21), 4, **TRAIN)
    ids(iterator, steps)
    state = json.loads(json.dumps(iterator.get_state()))
    expected = [next(iterator) for _ in range(6)]
    restored = pipeline.batches(make(21), 4, **TRAIN)
    restored.set_state(state)
    for want in expected:
        got = next(restored)
        assert got["id"].tolist() == want["id"].tolist()
        np.testing.assert_array_equal(got["image"], want["image"])


@pytest.mark.parametrize("process_count", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 16, 23])
def test_evaluation_shows_every_example_once_in_equally_many_batches(count, process_count):
    shards = [
        ids(pipeline.batches(make(count), 4, size=8, process_index=i, process_count=process_count))
        for i in range(process_count)
    ]
    assert sorted(flat(flat(shards))) == list(range(count))
    assert len({len(shard) for shard in shards}) == 1


def test_evaluation_batches_are_full_and_in_order():
    batches = list(pipeline.batches(make(6), 4, size=8))
    assert [batch["image"].shape[0] for batch in batches] == [4, 4]
    assert batches[1]["mask"].tolist() == [True, True, False, False]
    assert ids(iter(batches)) == [[0, 1, 2, 3], [4, 5]]


@pytest.mark.parametrize("process_count", [1, 2, 3])
def test_processes_together_see_the_batches_of_one_in_every_epoch(process_count):
    one = ids(pipeline.batches(make(32), 6, **TRAIN), 12)
    parts = [
        ids(pipeline.batches(make(32), 6 // process_count, process_index=i, process_count=process_count, **TRAIN), 12)
        for i in range(process_count)
    ]
    assert [flat([part[k] for part in parts]) for k in range(12)] == one
    assert len({tuple(sorted(flat(one[5 * k : 5 * k + 5]))) for k in range(2)}) == 2  # others are dropped each time


def test_training_drops_the_remainder_and_ends_after_the_epochs():
    batches = ids(pipeline.batches(make(11), 4, **TRAIN | {"epochs": 3}))
    assert [len(batch) for batch in batches] == [4] * 6


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="batch_size 12 exceeds the 5 examples of each process; use 5 or fewer"):
        pipeline.batches(make(10), 12, process_count=2, **TRAIN)


def test_a_size_the_vae_cannot_take_is_refused_before_reading():
    with pytest.raises(ValueError, match="size 130 is not divisible"):
        pipeline.batches(make(1), 1, size=130)


def test_a_folder_without_data_is_refused_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(ValueError, match=r"no data set in .*; make one with: prism data build"):
        pipeline.loader(tmp_path, "train", 4, size=8)
