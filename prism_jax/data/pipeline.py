"""Batches from a built data set: a Grain pipeline, deterministic, resumable, split over processes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import grain
import numpy as np

from prism_jax.data import captions, schema, transforms

T = TypeVar("T")


def loader(folder: str | Path, split: str, batch_size: int, **options) -> grain.DatasetIterator:
    """Batches of one split of the data set in `folder`; the options are those of `batches`."""
    return batches(open_split(folder, split), batch_size, **options)


def open_split(folder: str | Path, split: str) -> Sequence[schema.Example]:
    """Random access to the examples of one split, in the order of the build, images still encoded."""
    import tensorflow_datasets as tfds

    if not (Path(folder) / "dataset_info.json").is_file():
        raise ValueError(f"no data set in {folder}; make one with: prism data build NAME --out {folder}")
    builder = tfds.builder_from_directory(folder)
    if split not in builder.info.splits:
        raise ValueError(f"no split {split!r} in {folder}; it has {', '.join(builder.info.splits)}")
    return _Records(builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()}))


def batches(
    examples: Sequence[schema.Example],
    batch_size: int,
    *,
    size: int | tuple[int, int],
    fit: transforms.Fit = "pad",
    factor: int = 8,
    shuffle: bool = False,
    seed: int = 0,
    epochs: int | None = 1,
    drop_remainder: bool = False,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
    caption: Callable[[schema.Attributes], str] = captions.describe,
) -> grain.DatasetIterator:
    """An iterator over this process's batches, with `get_state()` (JSON) and `set_state(state)`.

    A batch holds `batch_size` examples of this process:

        image       float32 [b, h, w, 3] in [-1, 1]      see transforms.to_input for size, fit and factor
        caption     str [b]
        attributes  list of b Attributes
        id          int64 [b], unique in the data set, below 2**31
        subject     int64 [b], phantom subject or -1
        mask        bool [b], False where an example only fills the batch

    Shuffled anew in every epoch (None: for ever); process p of n takes the p-th part of every batch of n times
    `batch_size`, so that the n of them together see what one would. Training sets `drop_remainder`: every process
    yields the same number of full batches per epoch. Otherwise none is lost: the last batches are filled with masked
    examples, again to one number of batches in every process.
    """
    transforms.frame(size, factor=factor)

    def prepare(example: schema.Example) -> dict:
        image = transforms.to_input(transforms.decode(example.image), size, fit, factor=factor)
        return {
            "image": image,
            "caption": caption(example.attributes),
            "attributes": example.attributes,
            "id": example.id,
            "subject": example.subject,
        }

    return iterate(
        examples,
        batch_size,
        prepare,
        shuffle=shuffle,
        seed=seed,
        epochs=epochs,
        drop_remainder=drop_remainder,
        process_index=process_index,
        process_count=process_count,
        threads=threads,
    )


def iterate(
    items: Sequence[T],
    batch_size: int,
    prepare: Callable[[T], dict],
    *,
    shuffle: bool,
    seed: int,
    epochs: int | None,
    drop_remainder: bool,
    process_index: int,
    process_count: int,
    threads: int = 2,
) -> grain.DatasetIterator:
    """Batches of what `prepare` makes of each item, with a "mask" added; see `batches` for order and options."""
    together = batch_size * process_count
    if drop_remainder and len(items) < together:
        share = len(items) // process_count
        remedy = f"use {share} or fewer" if share else "use fewer processes"
        raise ValueError(f"batch_size {batch_size} exceeds the {share} examples of each process; {remedy}")

    def masked(item: tuple[T, bool]) -> dict:
        return prepare(item[0]) | {"mask": item[1]}

    length = len(items) if drop_remainder else math.ceil(len(items) / together) * together
    data = grain.MapDataset.source(_Padded(items, length))
    if shuffle:
        data = data.shuffle(seed=seed)
    # A multiple of the processes' batches: else some would have one more than others.
    data = data.slice(slice(length // together * together)).map(masked)
    data = data.batch(batch_size, drop_remainder=True, batch_fn=_collate)
    data = data.slice(slice(process_index, None, process_count))
    data = data.repeat(epochs)  # after batch, so that no batch spans two epochs
    reading = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)  # counts batches
    return iter(data.to_iter_dataset(reading))


def _collate(items: Sequence[dict]) -> dict:
    columns = {key: [item[key] for item in items] for key in items[0]}
    as_array = {"id": np.int64, "subject": np.int64, "mask": bool}
    keep = ("attributes",)  # objects, as a list
    return {key: column if key in keep else np.array(column, as_array.get(key)) for key, column in columns.items()}


@dataclasses.dataclass(frozen=True)
class _Records:
    """A TFDS data source read as examples."""

    source: Sequence[dict]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> schema.Example:
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")  # ends a for loop; TFDS raises another error
        return schema.from_record(self.source[index])


@dataclasses.dataclass(frozen=True)
class _Padded:
    """`length` pairs (item, is real): the items, followed by repetitions of the first."""

    items: Sequence
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple:
        is_real = index < len(self.items)
        return self.items[index if is_real else 0], is_real
