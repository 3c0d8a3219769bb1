"""Examples from a user's own folder: a CSV with one row per image, and the images."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import os
import re
import string
from collections.abc import Iterable, Iterator
from pathlib import Path

from prism_jax.data import captions, schema, transforms

NO_FINDING = "no finding"
YES, NO = ("y", "yes", "true", "1", "1.0"), ("n", "no", "false", "0", "0.0")
SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "": None, "unknown": None, "u": None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderConfig:
    """How to read the CSV. A column set to None is one that the CSV does not have."""

    csv: str = "metadata.csv"  # relative to the source folder
    path: str = "{path}"  # the image, relative to the source folder; braces name columns: "images/{id}.jpg"
    patient_column: str = "patient"
    patient_pattern: str = ".+"  # the part of that cell which names the patient: r"\d+" takes 326 from 326a
    sex_column: str | None = "sex"
    age_column: str | None = "age"  # years
    view_column: str | None = "view"
    findings_column: str | None = "findings"  # a list; empty means unknown, "No Finding" that there is none
    separator: str = ";"
    findings: tuple[str, ...] | None = None  # all names that may occur in the list; None takes any
    unlisted_absent: bool = False  # a known finding that a list leaves out is absent, not just unmentioned
    flags: tuple[str, ...] = ()  # yes/no columns that are findings: "intubated", "tube=endotracheal tube"
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)  # of the patients, for train, val, test
    split_seed: int = 0
    max_side: int | None = 1024  # pixels; larger images are stored smaller
    bit_depth: int = 16  # bits that carry the picture in 16-bit files

    def __post_init__(self):
        if min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(f"fractions {self.fractions} are not three shares that sum to 1")
        if self.unlisted_absent and not self.findings:
            raise ValueError("unlisted_absent needs the list of known findings; give findings")
        try:
            re.compile(self.patient_pattern)
        except re.error as error:
            raise ValueError(f"patient_pattern {self.patient_pattern!r} is not a regex: {error}") from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the CSV, understood; `number` counts from 0."""

    number: int
    path: str
    patient: str
    split: str
    attributes: schema.Attributes


def read_rows(source: str | Path, config: FolderConfig) -> list[Row]:
    """All rows of the CSV. Raises a ValueError for the first cell that makes no sense, before slow work."""
    file = Path(source) / config.csv
    if not file.is_file():
        others = sorted(p.name for p in Path(source).glob("*.csv")) if Path(source).is_dir() else []
        raise ValueError(f"no table {file}; the folder has {', '.join(others) or 'no CSV file'}")
    with open(file, encoding="utf-8-sig", newline="") as lines:
        try:
            table = csv.DictReader(lines)
            _check_columns(file, table.fieldnames or [], config)
            rows = [_row(number, cells, config) for number, cells in enumerate(table)]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{file} is not a CSV in UTF-8: {error}") from None
    if not rows:
        raise ValueError(f"{file} has no rows")
    return rows


def read_example(source: str | Path, row: Row, config: FolderConfig) -> schema.Example:
    """The example of a row, its image checked. Raises a ValueError with the reason where it is unusable."""
    # By name only: links inside the folder may lead to another disk.
    if os.path.isabs(row.path) or os.path.normpath(row.path).startswith(".."):
        raise ValueError("lies outside the source folder")
    file = Path(source) / row.path
    image, height, width = transforms.stored(
        transforms.read_bytes(file), max_side=config.max_side, bit_depth=config.bit_depth
    )
    return schema.Example(
        id=row.number,
        image=image,
        height=height,
        width=width,
        patient=row.patient,
        path=row.path,
        subject=-1,
        attributes=row.attributes,
    )


def usable(source: str | Path, rows: Iterable[Row], config: FolderConfig, skipped: list) -> Iterator[schema.Example]:
    """The examples of the rows whose image can be used; (row, reason) of the others go into `skipped`."""
    for row in rows:
        try:
            yield read_example(source, row, config)
        except ValueError as error:
            skipped.append((row, str(error)))


def split_of(patient: str, config: FolderConfig) -> str:
    """The split of a patient: by hash, so it does not depend on the order or number of rows."""
    digest = hashlib.blake2b(f"{config.split_seed}:{patient}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest) / 2**64  # uniform in [0, 1)
    train, val, _ = config.fractions
    return schema.SPLITS[(place >= train) + (place >= train + val)]


def _check_columns(file: Path, present: list[str], config: FolderConfig) -> None:
    in_path = [field for _, field, _, _ in string.Formatter().parse(config.path) if field is not None]
    columns = {f"the image path {config.path!r}": in_path, "flags": [_flag(flag)[0] for flag in config.flags]}
    for option in ("patient_column", "sex_column", "age_column", "view_column", "findings_column"):
        columns[option] = [getattr(config, option)] if getattr(config, option) else []
    for option, names in columns.items():
        for name in names:
            if name not in present:
                remedy = "" if option in ("patient_column", "flags") or name in in_path else ", or None"
                raise ValueError(
                    f"{file} has no column {name!r} (needed by {option}); it has {', '.join(present)}: "
                    f"name one of these{remedy}"
                )


def _row(number: int, cells: dict[str, str | None], config: FolderConfig) -> Row:
    cells = {column: (cell or "").strip() for column, cell in cells.items() if isinstance(column, str)}
    try:
        found = re.search(config.patient_pattern, cells[config.patient_column])
        if found is None:
            patient = cells[config.patient_column]
            raise ValueError(f"patient {patient!r} does not match patient_pattern {config.patient_pattern!r}")
        attributes = schema.Attributes(
            age=_age(cells[config.age_column]) if config.age_column else None,
            sex=_sex(cells[config.sex_column]) if config.sex_column else None,
            view=cells[config.view_column] or None if config.view_column else None,
            findings=_findings(cells, config),
        )
    except ValueError as error:  # as a spreadsheet numbers it
        raise ValueError(f"{config.csv}, row {number + 2} (the header is row 1): {error}") from None
    patient = found.group()
    return Row(
        number=number,
        path=config.path.format_map(cells),
        patient=patient,
        split=split_of(patient, config),
        attributes=attributes,
    )


def _findings(cells: dict[str, str], config: FolderConfig) -> dict[str, bool]:
    listed = cells[config.findings_column].split(config.separator) if config.findings_column else []
    names = [name.strip() for name in listed if name.strip()]
    positive = [name for name in names if captions.spoken(name) != NO_FINDING]
    if positive and len(positive) < len(names):
        raise ValueError(f"'No Finding' stands beside {', '.join(positive)}; remove one of them")
    found = _positive(positive, config)
    if names and not positive:
        # Without a list of known names there is one thing to say: the caption reads "with no finding".
        found = dict.fromkeys(config.findings or ("finding",), False)
    elif names and config.unlisted_absent:
        found = {name: name in found for name in config.findings}
    for flag in config.flags:
        column, name = _flag(flag)
        cell = cells[column].lower()
        if cell in YES or cell in NO:
            found[name] = cell in YES
        elif cell:
            raise ValueError(f"{column} {cells[column]!r} is not yes or no ({', '.join(YES + NO)}, or empty)")
    return found


def _positive(names: list[str], config: FolderConfig) -> dict[str, bool]:
    """Present findings, in the order and spelling of the known names where these are given."""
    if config.findings is None:
        return dict.fromkeys(names, True)
    known = {captions.spoken(name): name for name in config.findings}
    for name in names:
        if captions.spoken(name) not in known:
            raise ValueError(f"unknown finding {name!r}; known are {', '.join(config.findings)}")
    spoken = {captions.spoken(name) for name in names}
    return {name: True for key, name in known.items() if key in spoken}


def _flag(flag: str) -> tuple[str, str]:
    """(column, finding) of "column" or "column=finding"."""
    column, _, name = flag.partition("=")
    return column, name or captions.spoken(column)


def _age(cell: str) -> float | None:
    if cell.lower() in ("", "nan", "unknown"):
        return None
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"age {cell!r} is not a number of years; empty the cell if it is unknown") from None


def _sex(cell: str) -> str | None:
    if cell.lower() not in SEXES:
        raise ValueError(f"sex {cell!r} is not one of M, F, male, female or empty")
    return SEXES[cell.lower()]
