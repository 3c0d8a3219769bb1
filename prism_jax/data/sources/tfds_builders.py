"""TFDS builders that write ArrayRecord, without TensorFlow: images are passed as encoded bytes.

Importing this module registers them: `tfds.data_source("prism_chexpert", data_dir=...)` then reads what
`prism data build chexpert --out ...` wrote, with that folder as data_dir, or with the one that holds it as
prism_chexpert/2.0.0.

Their `code_path` is None: TFDS would look there for checksums of downloads, of which there are none, with a
package that it does not install (importlib_resources).
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder

from prism_jax.data import schema
from prism_jax.data.sources import chexpert, folder, ingest, mimic_cxr, nih, phantom, shard_writer

VERSION = "2.0.0"  # of the stored schema


class RowsBuilder(FileReaderBuilder, skip_registration=True):
    """A data set with one table row per image. A class, and a parent of classes, because TFDS registers these.

    `source` and `options` are needed to build, not to read. After a build `errors` holds the rows of
    `errors.csv`.
    """

    VERSION = tfds.core.Version(VERSION)
    code_path = None  # see the top
    config: ClassVar[type]
    read_rows: ClassVar[Callable[[str | Path, Any], list[ingest.Row]]]

    def __init__(self, *, source: str | Path | None = None, options: Any = None, **kwargs):
        self.source, self.options, self.errors = source, options or self.config(), []
        super().__init__(**{"file_format": "array_record"} | kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        # Order is kept: the first test subjects of a report are the first ones by number.
        return tfds.core.DatasetInfo(
            builder=self, description=self.__doc__, features=schema.features(), disable_shuffling=True
        )

    def _build_data_dir(self, given_data_dir: str | None) -> tuple[str, str]:
        return _built_folder(self, given_data_dir) or super()._build_data_dir(given_data_dir)

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        if self.source is None:
            name = self.name.removeprefix("prism_")
            raise ValueError(
                f"{self.name} is not in {self.data_dir_root}; make it with: prism data build {name} --source DIR "
                "--out OUT, and give OUT as data_dir"
            )
        rows, config = self.read_rows(self.source, self.options), self.options.ingest
        read = partial(ingest.read_examples, self.source, config=config)
        self.errors = _write_shards(self, rows, read, _origin(self), config.max_bad)


class PrismChexpert(RowsBuilder):
    """CheXpert-v1.0 or CheXpert-v1.0-small: chest X-rays of Stanford Hospital with labels mined from reports."""

    config, read_rows = chexpert.ChexpertConfig, staticmethod(chexpert.read_rows)


class PrismMimicCxr(RowsBuilder):
    """MIMIC-CXR-JPG: chest X-rays of Beth Israel Deaconess Medical Center with labels mined from reports."""

    config, read_rows = mimic_cxr.MimicConfig, staticmethod(mimic_cxr.read_rows)


class PrismNih(RowsBuilder):
    """ChestX-ray14: chest X-rays of the NIH Clinical Center with labels mined from reports."""

    config, read_rows = nih.NihConfig, staticmethod(nih.read_rows)


class PrismFolder(RowsBuilder):
    """X-rays of a folder, with a table."""

    config, read_rows = folder.FolderConfig, staticmethod(folder.read_rows)


class PrismPhantom(RowsBuilder):
    """Phantom chest X-rays with a known structural causal model."""

    config = phantom.PhantomConfig

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        rows, read = phantom.rows(self.options), partial(phantom.examples, config=self.options)
        self.errors = _write_shards(self, rows, read, f"{self.name} {VERSION} {self.options}", 0.0)


BUILDERS = {
    "chexpert": PrismChexpert,
    "mimic_cxr": PrismMimicCxr,
    "nih": PrismNih,
    "folder": PrismFolder,
    "phantom": PrismPhantom,
}


def _origin(builder: RowsBuilder) -> str:
    """Options on which the records depend besides rows and files: all but `max_bad` and `threads`."""
    same = dataclasses.replace(builder.options.ingest, max_bad=0.0, threads=None)
    options = dataclasses.asdict(dataclasses.replace(builder.options, ingest=same))
    return f"{builder.name} {VERSION} {Path(builder.source).resolve()} {options}"


def _write_shards(
    builder: FileReaderBuilder, rows: Sequence[ingest.Row], read: shard_writer.Read, origin: str, max_bad: float
) -> list[ingest.Error]:
    """Writes the records of `rows` into the builder's folder; returns the rows without one."""
    unfinished = Path(builder.data_dir_root) / f".{builder.name}-shards"
    shards = shard_writer.write_shards(rows, read, unfinished, origin=origin, max_bad=max_bad)
    builder.info.set_splits(tfds.core.splits.SplitDict(_moved(builder, shards)))
    return shard_writer.errors_of(shards)


def _moved(builder: FileReaderBuilder, shards: list[shard_writer.Shard]) -> list[tfds.core.SplitInfo]:
    """Moves the shards that hold an example to the file names that TFDS reads, in the builder's folder."""
    infos = []
    for split in schema.SPLITS:
        chosen = [shard for shard in shards if shard.split == split and shard.count]
        if not chosen:
            continue  # TFDS reads no empty split
        template = builder._get_filename_template(split_name=split)
        for index, shard in enumerate(chosen):
            os.replace(shard.file, template.sharded_filepath(shard_index=index, num_shards=len(chosen)))
        lengths = [shard.count for shard in chosen]
        size = sum(path.stat().st_size for path in Path(builder.data_dir).glob(f"*-{split}.array_record-*"))
        infos.append(tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size, filename_template=template))
    return infos


def _built_folder(builder: tfds.core.DatasetBuilder, data_dir: str | None) -> tuple[str, str] | None:
    """(root, folder) where `data_dir` is itself a built data set; None where it is not."""
    file = Path(data_dir or "") / "dataset_info.json"
    if data_dir is None or not file.is_file():
        return None
    name = json.loads(file.read_text())["name"]
    if name != builder.name:
        raise ValueError(f"{data_dir} holds {name}, not {builder.name}")
    return data_dir, data_dir
