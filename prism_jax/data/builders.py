"""TFDS builders that write ArrayRecord, without TensorFlow: images are handed over as encoded bytes.

Their `code_path` is None: TFDS would look there for checksums of downloads, of which there are none, with a
package that it does not install (importlib_resources).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import tensorflow_datasets as tfds
from tqdm import tqdm

from prism_jax.data import folder, phantom_dataset, schema

T = TypeVar("T")


class PrismFolder(tfds.core.GeneratorBasedBuilder):
    """A CSV and a folder of images. After the build `skipped` holds (row, reason) of the images left out."""

    VERSION = tfds.core.Version("2.0.0")
    code_path = None  # see the top

    def __init__(self, *, source: str | Path, options: folder.FolderConfig, **kwargs):
        self.source, self.options, self.skipped = source, options, []
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return _info(self, "X-rays of a folder, with a CSV")

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        rows = folder.read_rows(self.source, self.options)
        bar = tqdm(total=len(rows), unit="image")
        filled = _filled({split: self._generate_examples(rows, split, bar) for split in schema.SPLITS})
        if not filled:
            row, reason = self.skipped[0]
            raise ValueError(f"none of the {len(rows)} images can be used; the first, {row.path}, {reason}")
        return filled

    def _generate_examples(self, rows: list[folder.Row], split: str, bar: tqdm) -> Iterator[tuple[int, dict]]:
        chosen = _counted((row for row in rows if row.split == split), bar)
        return _records(folder.usable(self.source, chosen, self.options, self.skipped))


class PrismPhantom(tfds.core.GeneratorBasedBuilder):
    """Phantom subjects with a known structural causal model."""

    VERSION = tfds.core.Version("2.0.0")
    code_path = None  # see the top

    def __init__(self, *, options: phantom_dataset.PhantomConfig, **kwargs):
        self.options, self.skipped = options, []
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return _info(self, "Phantom chest X-rays with a known structural causal model")

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        bar = tqdm(total=sum(self.options.counts.values()), unit="image")
        filled = _filled({split: self._generate_examples(split, bar) for split in schema.SPLITS})
        if not filled:
            raise ValueError("train, val and test are 0: nothing to render")
        return filled

    def _generate_examples(self, split: str, bar: tqdm) -> Iterator[tuple[int, dict]]:
        return _records(_counted(phantom_dataset.examples(split, self.options), bar))


def _info(builder: tfds.core.DatasetBuilder, description: str) -> tfds.core.DatasetInfo:
    # Order is kept: the first test subjects of a report are the first ones by number.
    return tfds.core.DatasetInfo(
        builder=builder, description=description, features=schema.features(), disable_shuffling=True
    )


def _records(examples: Iterable[schema.Example]) -> Iterator[tuple[int, dict]]:
    return ((example.id, schema.to_record(example)) for example in examples)


def _counted(items: Iterable[T], bar: tqdm) -> Iterator[T]:
    for item in items:
        yield item
        bar.update()
        if bar.n == bar.total:
            bar.close()


def _filled(splits: dict[str, Iterator]) -> dict[str, Iterator]:
    """The splits that have an example; TFDS refuses to write an empty one."""
    first = {split: next(records, None) for split, records in splits.items()}
    return {
        split: itertools.chain([first[split]], records) for split, records in splits.items() if first[split] is not None
    }
