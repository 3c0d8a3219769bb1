"""The Grain pipeline: one order for any number of processes, resumable, disjoint, padded where nothing may be lost."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from prism_jax.data import schema, transforms
from prism_jax.data.loading import pipeline


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


TRAIN = {"size": 8, "seed": 0}


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
    first, again, other = (ids(pipeline.batches(make(20), 4, size=8, seed=s), 10) for s in (3, 3, 4))
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


def content(batch: dict) -> list[tuple]:
    """All that a batch says of each example, pictures included."""
    keys = ("id", "caption", "subject", "mask")
    rows = zip(*(batch[key].tolist() for key in keys), batch["attributes"], batch["image"], strict=True)
    return [(*row[:-1], row[-1].tobytes()) for row in rows]


def turned(example: schema.Example, epoch: int) -> str:
    """A caption that differs from epoch to epoch."""
    return f"{example.id} in epoch {epoch}"


@pytest.mark.parametrize("seed", [5, None])
@pytest.mark.parametrize("process_count", [1, 2, 4])
def test_batches_are_the_same_after_a_restart_and_for_any_number_of_processes(process_count, seed):
    examples, options = make(83), {"size": 8, "seed": seed, "caption": turned}
    steps = 11 if seed is None else 30  # once over all examples; three epochs
    expected = [content(batch) for batch in itertools.islice(pipeline.batches(examples, 8, **options), steps)]
    assert len(expected) == steps
    streams = [[], []]  # batches of every process before and after the restart
    for index in range(process_count):
        sharing = options | {"process_index": index, "process_count": process_count}
        stream = pipeline.batches(examples, 8 // process_count, **sharing)
        streams[0].append([content(next(stream)) for _ in range(7)])
        state = json.loads(json.dumps(stream.get_state()))
        restarted = pipeline.batches(examples, 8 // process_count, threads=3, **sharing)
        restarted.set_state(state)
        streams[1].append([content(batch) for batch in itertools.islice(restarted, steps - 7)])
        assert seed is not None or next(restarted, None) is None
    seen = [flat(parts) for half in streams for parts in zip(*half, strict=True)]
    assert seen == expected


def test_worker_processes_change_nothing_and_a_state_fits_any_number_of_them():
    examples = make(21)
    expected = [content(batch) for batch in itertools.islice(pipeline.batches(examples, 4, **TRAIN), 10)]
    stream = pipeline.batches(examples, 4, num_workers=2, **TRAIN)
    first = [content(next(stream)) for _ in range(3)]
    rest = pipeline.batches(examples, 4, **TRAIN)
    rest.set_state(stream.get_state())
    stream.close()
    assert first + [content(next(rest)) for _ in range(7)] == expected


def test_what_is_wrong_in_a_worker_process_is_said():
    with pytest.raises(ValueError, match="example 0 has no mask 'lungs' to crop to; its masks: none"):
        next(pipeline.batches(make(2), 2, size=8, crop="lungs", num_workers=1))


def test_a_state_of_an_older_version_is_refused():
    with pytest.raises(ValueError, match="the state has next_index, not step"):
        pipeline.batches(make(4), 2, **TRAIN).set_state({"next_index": 3})


def test_images_are_cropped_to_a_mask():
    picture = np.zeros((40, 60), np.uint8)
    picture[10:20, 30:40] = 200
    (bare,) = make(1)
    mask = transforms.encode_png(np.where(picture > 0, 255, 0).astype(np.uint8))
    example = dataclasses.replace(bare, image=transforms.encode_png(picture), masks={"lungs": mask})
    whole, part = (next(pipeline.batches([example], 1, size=40, crop=crop))["image"] for crop in (None, "lungs"))
    assert np.mean(whole > 0) < 0.1
    assert np.mean(part > 0) > 0.5


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


def test_training_slices_are_disjoint_and_stay_so_over_epochs():
    shards = [ids(pipeline.batches(make(23), 5, process_index=i, process_count=2, **TRAIN), 6) for i in range(2)]
    first, second = (set(flat(shard)) for shard in shards)
    assert not first & second
    assert all(len(batch) == 5 for shard in shards for batch in shard)


def test_no_example_is_left_out_of_training_for_good():
    seen = flat(
        flat([ids(pipeline.batches(make(23), 5, process_index=i, process_count=2, **TRAIN), 40) for i in (0, 1)])
    )
    assert set(seen) == set(range(23))


def test_training_has_full_batches_of_distinct_examples_in_each_epoch():
    batches = ids(pipeline.batches(make(11), 4, **TRAIN), 6)
    assert [len(batch) for batch in batches] == [4] * 6
    assert all(len(set(flat(batches[at : at + 2]))) == 8 for at in (0, 2, 4))


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="batch_size 12 exceeds the 5 examples of each process; use 5 or fewer"):
        pipeline.batches(make(10), 12, process_count=2, **TRAIN)


def test_a_size_the_vae_cannot_take_is_refused_before_reading():
    with pytest.raises(ValueError, match="size 130 is not divisible"):
        pipeline.batches(make(1), 1, size=130)


def test_a_folder_without_data_is_refused_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(ValueError, match=r"is not a built data set .*; prism data build NAME --out NEW_FOLDER"):
        pipeline.batches(pipeline.open_split(tmp_path, "train"), 4, size=8)
