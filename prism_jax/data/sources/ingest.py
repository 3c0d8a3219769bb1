"""Images of real data sets on their way into storage: rows, splits by patient, and one row's files."""

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
LATERAL = ("LL", "RL", "LATERAL")  # what View Position of a DICOM file says of lateral images


Error = tuple[int, str, str]  # line in its table, path, reason


@dataclasses.dataclass(frozen=True, kw_only=True)
class Intake:
    """How images are taken in, whatever table names them."""

    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)  # of the patients, for train, val, test
    split_seed: int = 0
    max_side: int | None = 1024  # pixels; larger images are stored smaller
    bit_depth: int = 16  # bits that carry the picture in 16-bit files
    max_bad: float = 0.05  # share of the rows whose files may be unusable; more is an error
    threads: int | None = None  # that read files; None: as many as there are cores

    def __post_init__(self):
        if min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(f"fractions {self.fractions} are not three shares that sum to 1")
        if not 0 <= self.max_bad <= 1:
            raise ValueError(f"max_bad {self.max_bad} is not a share from 0 to 1")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads {self.threads} is less than 1; use None for one a core")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table, understood. Paths are relative to the source folder."""

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


def split_of(patient: str, intake: Intake) -> str:
    """The split of a patient: by hash, so it does not depend on the order or number of rows."""
    digest = hashlib.blake2b(f"{intake.split_seed}:{patient}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest) / 2**64  # uniform in [0, 1)
    train, val, _ = intake.fractions
    return schema.SPLITS[(place >= train) + (place >= train + val)]


def race(cell: str) -> str | None:
    """Race as a caption can say it: "White, non-Hispanic" is "White"; None where it is unknown or not given."""
    name = cell.partition(",")[0].strip()
    is_unknown = any(word in name.lower() for word in ("unknown", "declined", "refused", "unable to obtain"))
    return None if is_unknown else name or None


def read_examples(source: str | Path, rows: Sequence[Row], intake: Intake) -> Iterator[schema.Example | str]:
    """The example of each row, or why there is none, in their order; several files are read at once."""

    def tried(row: Row) -> schema.Example | str:
        try:
            return read_example(source, row, intake)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(intake.threads or os.cpu_count()) as pool:
        yield from pool.map(tried, rows)


def read_example(source: str | Path, row: Row, intake: Intake) -> schema.Example:
    """The example of a row, its image checked. Raises a ValueError with the reason where it is unusable.

    Of a DICOM file age, sex, view, study and spacing are taken where the table does not say them.
    """
    file = transforms.decode_file(_read(source, row.path), bit_depth=intake.bit_depth)
    image, (height, width) = file.stored(max_side=intake.max_side), file.pixels.shape
    if file.dicom is not None:
        row = _with_tags(row, file.dicom.tags)
    masks = {}
    for name, path in row.masks.items():
        try:
            masks[name] = _mask(_read(source, path), (height, width), image)
        except ValueError as error:
            raise ValueError(f"mask {path} {error}") from None
    return schema.Example(
        id=row.number,
        image=image,
        height=row.size[0] if row.size else height,
        width=row.size[1] if row.size else width,
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
    # By name only: links inside the folder may lead to another disk.
    if os.path.isabs(path) or os.path.normpath(path).split(os.sep)[0] == "..":
        raise ValueError("lies outside the source folder")
    return transforms.read_bytes(Path(source) / path)


def _with_tags(row: Row, tags: dicom_tags.Tags) -> Row:
    known, view = row.attributes, "lateral" if tags.view in LATERAL else tags.view
    return dataclasses.replace(
        row,
        study=row.study or tags.study,
        spacing=row.spacing or tags.spacing,
        attributes=dataclasses.replace(
            known,
            age=tags.age if known.age is None else known.age,
            sex=known.sex or tags.sex,
            view=known.view or view,
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
