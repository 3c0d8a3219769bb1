"""Batches from a built data set: a deterministic, resumable Grain pipeline, sharded over processes."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from prism_jax.data import built_folder, schema, transforms
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.loading import mixture, sampler

if TYPE_CHECKING:
    import grain

PREFETCH = 2  # batches per thread or worker process
Caption = Callable[[schema.Example, int], str]  # (example, epoch of its data set)


def describe(example: schema.Example, epoch: int) -> str:
    """The plain caption, the same in every epoch."""
    return PLAIN.describe(example.attributes)


def open_split(folder: str | Path, split: str) -> Sequence[schema.Example]:
    """Random access to the examples of one split, in build order, with images still encoded."""
    import tensorflow_datasets as tfds

    built_folder.check(folder)
    splits = tfds.builder_from_directory(folder).info.splits
    if split not in splits:
        raise ValueError(f"no split {split!r} in {folder}; it has {', '.join(splits)}")
    return _Records(str(folder), split)


def batches(
    examples: Sequence[schema.Example] | mixture.Mixture,
    batch_size: int,
    *,
    size: int | tuple[int, int],
    fit: transforms.Fit = "pad",
    factor: int = 8,
    crop: str | None = None,
    caption: Caption = describe,
    **options: Any,
) -> Batches:
    """Batches of this process, with the `options` of `iterate`. A batch holds `batch_size` examples:

        image       float32 [b, h, w, 3] in [-1, 1]      see transforms.to_input for size, fit and factor
        caption     str [b]
        attributes  list of b Attributes
        text        str [b], report or note
        id          int64 [b], unique in the data set, below 2**31
        subject     int64 [b], phantom subject or -1
        mask        bool [b], False for padding

    `crop` names a mask; each image is cropped to it (transforms.crop_to).
    """
    frame = transforms.frame(size, factor=factor)
    prepare = functools.partial(_prepare, size=frame, fit=fit, factor=factor, crop=crop, caption=caption)
    return iterate(examples, batch_size, prepare, **options)


def iterate(
    items: Sequence[Any] | mixture.Mixture,
    batch_size: int,
    prepare: Callable[[Any, int], dict[str, Any]],
    *,
    seed: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
    num_workers: int = 0,
) -> Batches:
    """Batches of `prepare(item, epoch)`; columns become arrays, except "attributes", which stays a list.

    For training, give a `seed`: endless full batches, reshuffled in every epoch, that leave out the remainder. Without
    one, all items come once, in order; the last batches are padded with items that are False in the column "mask", so
    that every process has the same number. Processes take disjoint slices; the global batches do not depend on the
    number of processes as long as `process_count` times `batch_size` stays the same.

    Items are prepared in `threads`, or in `num_workers` processes with that many threads each; a program with workers
    needs `if __name__ == "__main__"`, since they are spawned. Batches do not depend on either.

    Raises:
      ValueError: a mixture, which has no epochs, without a seed; or fewer items than a batch, with one.
    """
    slots = batch_size * process_count
    if isinstance(items, mixture.Mixture):
        if seed is None:
            raise ValueError("a mixture is sampled without end; give a seed")
        sources = tuple(component.examples for component in items.components)
        drawn = mixture.weighted_sampler(items, slots=slots, seed=seed)
    else:
        if seed is not None:
            examples = len(items) // process_count
            if examples < batch_size:
                remedy = f"use {examples} or fewer" if examples else "use fewer processes"
                raise ValueError(f"batch_size {batch_size} exceeds the {examples} examples of each process; {remedy}")
        sources, drawn = (items,), sampler.EpochSampler(count=len(items), slots=slots, seed=seed)
    own = range(process_index * batch_size, (process_index + 1) * batch_size)
    reader = _Reader(sources=sources, drawn=drawn, slots=own, prepare=prepare)
    count = sys.maxsize if seed is not None else drawn.steps
    return Batches(reader, count, threads=threads, num_workers=num_workers)


class Batches:
    """Iterator over batches. Its state is the number of batches taken, for any number of threads or workers.

    Prefetched batches do not count, so none is lost or repeated when the state is restored.
    """

    def __init__(self, reader: Callable[[int], dict[str, Any]], count: int, *, threads: int, num_workers: int):
        self._reader, self._count, self._threads, self._num_workers = reader, count, threads, num_workers
        self._iterator: grain.DatasetIterator | None = None
        self._step = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        if self._iterator is None:
            self._iterator = self._start()
        batch = next(self._iterator)
        self._step += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """State for `set_state`, as JSON."""
        return {"step": self._step}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Resumes at the batch that was next when `state` was taken."""
        if "step" not in state:
            raise ValueError(f"the state has {', '.join(state)}, not step: an older version wrote it; start a new run")
        self.close()
        self._step = int(state["step"])

    def close(self) -> None:
        """Stops threads and worker processes. Taking another batch restarts them."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None

    def _start(self) -> grain.DatasetIterator:
        import grain

        steps = grain.MapDataset.range(self._step, self._count)
        reading = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=PREFETCH * self._threads)
        data = steps.map(self._reader).to_iter_dataset(reading)
        if self._num_workers:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()  # Grain's workers read absl flags, which our programs do not parse
            data = data.mp_prefetch(grain.MultiprocessingOptions(self._num_workers, per_worker_buffer_size=PREFETCH))
        return iter(data)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Reader:
    """Makes this process's batch of a step. Worker processes get a copy."""

    sources: tuple[Sequence[Any], ...]
    drawn: sampler.EpochSampler | sampler.WeightedSampler
    slots: range
    prepare: Callable[[Any, int], dict[str, Any]]

    def __call__(self, step: int) -> dict[str, Any]:
        draws = [self.drawn(int(step), slot) for slot in self.slots]
        columns: dict[str, Any] = {"mask": np.array([draw.is_real for draw in draws])}
        for i, draw in enumerate(draws):
            for name, value in self.prepare(self.sources[draw.dataset][draw.index], draw.epoch).items():
                if isinstance(value, np.ndarray):  # copied while it is in the CPU's cache
                    if name not in columns:
                        columns[name] = np.empty((len(draws), *value.shape), value.dtype)
                    _copy(value, columns[name][i])
                else:
                    columns.setdefault(name, []).append(value)
        is_list = lambda name: name == "attributes" or isinstance(columns[name], np.ndarray)
        return {name: column if is_list(name) else np.array(column) for name, column in columns.items()}


def _copy(image: np.ndarray, to: np.ndarray) -> None:
    """Copies an array; equal channels, as `transforms.to_input` gives them, each by itself, which is faster."""
    if image.ndim == 3 and image.strides[-1] == 0:
        np.stack(np.moveaxis(image, -1, 0), axis=-1, out=to)
    else:
        np.copyto(to, image)


def _prepare(
    example: schema.Example,
    epoch: int,
    *,
    size: tuple[int, int],
    fit: transforms.Fit,
    factor: int,
    crop: str | None,
    caption: Caption,
) -> dict[str, Any]:
    """The row of one example in a batch; see `batches`."""
    pixels = transforms.decode(example.image)
    if crop is not None:
        if crop not in example.masks:
            has = ", ".join(example.masks) or "none"
            raise ValueError(f"example {example.id} has no mask {crop!r} to crop to; its masks: {has}")
        pixels = transforms.crop_to(pixels, transforms.decode(example.masks[crop]))
    stored = {name: getattr(example, name) for name in ("attributes", "text", "id", "subject")}
    image = transforms.to_input(pixels, size, fit, factor=factor)
    return {"image": image, "caption": caption(example, epoch)} | stored


@dataclasses.dataclass(frozen=True)
class _Records:
    """One split as examples. Copies in other processes open the files themselves."""

    folder: str
    split: str

    @functools.cached_property
    def source(self) -> Sequence[dict]:
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(self.folder)
        return builder.as_data_source(self.split, decoders={"image": tfds.decode.SkipDecoding()})

    def __getstate__(self) -> dict[str, str]:
        return {"folder": self.folder, "split": self.split}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> schema.Example:
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")  # ends a for loop; TFDS raises another error
        return schema.from_record(self.source[index])
