"""Ingestion of real data sets: table rows, patient-level splits, and reading the files of a row."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from prism_jax.data import schema, transforms
from prism_jax.data.dicom import tags as dicom_tags

ERRORS_FILE = "errors.csv"
LATERAL = ("LL", "RL", "LATERAL")  # View Position of lateral images in DICOM files


Error = tuple[int, str, str]  # line in its table, path, reason


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestConfig:
    """Splits, stored size and error budget, common to all sources."""

    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)  # fractions of the patients in train, val and test
    split_seed: int = 0
    max_side: int | None = 1024  # largest stored side in pixels; larger images are shrunk
    bit_depth: int = 16  # significant bits of 16-bit files: 12 for many detectors
    max_bad: float = 0.05  # largest fraction of rows with unusable files
    threads: int | None = None  # threads that read files; None: one per core

    def __post_init__(self):
        if min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(f"fractions must be three numbers from 0 that sum to 1, got {self.fractions}")
        if not 0 <= self.max_bad <= 1:
            raise ValueError(f"max_bad must be between 0 and 1, got {self.max_bad}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, or None for one per core, got {self.threads}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One parsed row of a table. Paths are relative to the source folder."""

    number: int  # counts from 0 over all tables of the data set; the example's id
    line: int  # in its table, as a spreadsheet numbers it
    path: str
    patient: str
    split: str
    attributes: schema.Attributes
    study: str = ""
    text: str = ""
    size: tuple[int, int] | None = None  # height and width of the original, where the file is a smaller copy of it
    spacing: tuple[float, float] | None = None  # mm between rows and between columns of the original's pixels
    masks: Mapping[str, str] = dataclasses.field(default_factory=dict)  # name -> path


def split_of(patient: str, config: IngestConfig) -> str:
    """The split of a patient, by hash: independent of the order and number of rows."""
    digest = hashlib.blake2b(f"{config.split_seed}:{patient}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest) / 2**64  # uniform in [0, 1)
    train, val, _ = config.fractions
    return schema.SPLITS[(place >= train) + (place >= train + val)]


def race(cell: str) -> str | None:
    """Race as captions word it: "White, non-Hispanic" is "White"; None where it is unknown or not given."""
    name = cell.partition(",")[0].strip()
    is_unknown = any(word in name.lower() for word in ("unknown", "declined", "refused", "unable to obtain"))
    return None if is_unknown else name or None


def read_examples(source: str | Path, rows: Sequence[Row], config: IngestConfig) -> Iterator[schema.Example | str]:
    """The example of each row, or the reason why there is none, in order; files are read in threads."""

    def example_or_reason(row: Row) -> schema.Example | str:
        try:
            return read_example(source, row, config)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(config.threads or os.cpu_count()) as pool:
        yield from pool.map(example_or_reason, rows)


def read_example(source: str | Path, row: Row, config: IngestConfig) -> schema.Example:
    """The example of a row, its image checked. Raises a ValueError with the reason where a file is unusable.

    Age, sex, view, study and spacing that the table lacks are taken from the tags of a DICOM file.
    """
    file = transforms.decode_file(_read(source, row.path), bit_depth=config.bit_depth)
    image, (height, width) = file.stored(max_side=config.max_side), row.size or file.pixels.shape
    if file.dicom is not None:
        row = _with_tags(row, file.dicom.tags)
    masks = {}
    for name, path in row.masks.items():
        try:
            masks[name] = _mask(_read(source, path), file.pixels.shape, image)
        except ValueError as error:
            raise ValueError(f"mask {path} {error}") from None
    return schema.Example(
        id=row.number,
        image=image,
        height=height,
        width=width,
        patient=row.patient,
        study=row.study,
        path=row.path,
        text=row.text,
        spacing=row.spacing,
        subject=-1,
        masks=masks,
        attributes=row.attributes,
    )


def write_errors(file: Path, errors: Iterable[Error]) -> None:
    """Writes `errors.csv`: row (as a spreadsheet numbers it), path and reason."""
    with open(file, "w", newline="", encoding="utf-8", errors="backslashreplace") as lines:
        writer = csv.writer(lines)
        writer.writerow(("row", "path", "reason"))
        writer.writerows(errors)


def _read(source: str | Path, path: str) -> bytes:
    if not path:
        raise ValueError("has no path in the table")
    # By name only: links inside the folder may lead to another disk.
    if os.path.isabs(path) or os.path.normpath(path).split(os.sep)[0] == "..":
        raise ValueError("lies outside the source folder")
    return transforms.read_bytes(Path(source) / path)


def _with_tags(row: Row, tags: dicom_tags.Tags) -> Row:
    attributes, view = row.attributes, "lateral" if tags.view in LATERAL else tags.view
    return dataclasses.replace(
        row,
        study=row.study or tags.study,
        spacing=row.spacing or tags.spacing,
        attributes=dataclasses.replace(
            attributes,
            age=tags.age if attributes.age is None else attributes.age,
            sex=attributes.sex or tags.sex,
            view=attributes.view or view,
        ),
    )


def _mask(data: bytes, size: tuple[int, int], image: bytes) -> bytes:
    """A mask as PNG of 0 and 255 in the frame of the stored image."""
    mask = transforms.decode(data) > 127
    if mask.shape != size:
        raise ValueError(f"is {mask.shape[0]} x {mask.shape[1]} pixels, its image {size[0]} x {size[1]}")
    stored = transforms.decode(image).shape
    pixels = mask.astype(np.uint8) * 255
    if stored != mask.shape:
        resized = Image.fromarray(pixels).resize(stored[::-1], Image.Resampling.BOX)
        pixels = (np.asarray(resized) > 127).astype(np.uint8) * 255
    return transforms.encode_png(pixels)
