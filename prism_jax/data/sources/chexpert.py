"""CheXpert-v1.0 and CheXpert-v1.0-small: `train.csv` and `valid.csv` beside the folders of images.

CheXpert-v1.0 comes in four archives, whose folders are read where they lie beside each other in the source folder.

What is not taken as it stands: age 0 is missing, 90 means 90 or more; sex Unknown is unknown; a lateral image has
the view "lateral", and a frontal one whose view is given as LL or RL has none. No Finding as in `labels.read`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from prism_jax.data import schema
from prism_jax.data.sources import label_policy, tables
from prism_jax.data.sources.ingest import Intake, Row, race, split_of
from prism_jax.data.sources.label_policy import LabelPolicy

TABLES = ("train.csv", "valid.csv")
PREFIXES = ("CheXpert-v1.0/", "CheXpert-v1.0-small/")  # of paths; the source is the folder of that name
FIRST_BATCH = "CheXpert-v1.0 batch 1 (validate & csv)"  # tables, and valid/
OTHER_BATCHES = "CheXpert-v1.0 batch * (train *)"  # patients of train/
SEXES = {"Male": "M", "Female": "F", "Unknown": None, "": None}
VIEWS = {"AP": "AP", "PA": "PA", "LL": None, "RL": None, "": None}  # of frontal images
OFFICIAL = {"train.csv": "train", "valid.csv": "val"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChexpertConfig:
    """Which images of CheXpert to store, and how."""

    tables: tuple[str, ...] | None = None  # of TABLES; None takes those that are there
    views: tuple[str, ...] | None = None  # only images of these views: "AP PA"; None takes all, "lateral" too
    official_split: bool = False  # train.csv is train and valid.csv is val, instead of a hash of the patient
    demographics: str | None = None  # CSV with PATIENT and PRIMARY_RACE, from which to take race
    policy: LabelPolicy = LabelPolicy()
    intake: Intake = Intake()

    def __post_init__(self):
        self.policy.check(label_policy.CHEXPERT)


def read_rows(source: str | Path, config: ChexpertConfig) -> list[Row]:
    """All rows of the tables. Raises a ValueError for the first cell that makes no sense."""
    batches = _batches(Path(source))
    races = _races(source, config.demographics) if config.demographics else {}
    rows, number = [], 0
    for file in _files(source, config):
        table = tables.read(file)
        tables.check_columns(file, table, ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *label_policy.CHEXPERT))
        for line, cells in enumerate(table.rows, 2):
            try:
                rows.append(_row(number, line, cells, file.name.removesuffix(".gz"), races, config))
            except ValueError as error:
                raise ValueError(f"{file.name}, row {line} (the header is row 1): {error}") from None
            number += 1
    rows = [dataclasses.replace(row, path=_in_batch(row.path, batches)) for row in rows] if batches else rows
    return [row for row in rows if config.views is None or row.attributes.view in config.views]


def _files(source: str | Path, config: ChexpertConfig) -> list[Path]:
    if (Path(source) / FIRST_BATCH).is_dir():
        source = Path(source) / FIRST_BATCH
    there = [name for name in TABLES if any((Path(source) / f"{name}{end}").is_file() for end in ("", ".gz"))]
    return [tables.find(source, name) for name in config.tables or there or TABLES]


def _batches(source: Path) -> dict[str, str]:
    """The folder of each patient of train/, where the archives lie unpacked; else nothing."""
    folders = [(source / FIRST_BATCH) / "train", *sorted(source.glob(OTHER_BATCHES))]
    found = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return {path.name: path.relative_to(source).as_posix() for path in found}


def _in_batch(path: str, batches: dict[str, str]) -> str:
    top, patient, *rest = path.split("/")
    if top == "train" and patient in batches:
        return "/".join((batches[patient], *rest))
    return f"{FIRST_BATCH}/{path}"


def _row(number: int, line: int, cells: dict[str, str], table: str, races: dict[str, str | None], config) -> Row:
    path = cells["Path"]
    for prefix in PREFIXES:
        path = path.removeprefix(prefix)
    parts = path.split("/")
    if len(parts) < 4 or not parts[-3].startswith("patient"):
        raise ValueError(f"Path {cells['Path']!r} does not end with patientN/studyN/NAME.jpg")
    patient, study = parts[-3:-1]
    attributes = schema.Attributes(
        age=_age(cells["Age"]),
        sex=_known("Sex", cells["Sex"], SEXES),
        view=_view(cells),
        race=races.get(patient),
        findings=label_policy.applied(
            label_policy.read(cells, label_policy.CHEXPERT), label_policy.CHEXPERT, config.policy
        ),
    )
    return Row(
        number=number,
        line=line,
        path=path,
        patient=patient,
        study=f"{patient}/{study}",
        split=OFFICIAL.get(table, "test") if config.official_split else split_of(patient, config.intake),
        attributes=attributes,
    )


def _age(cell: str) -> float | None:
    try:
        age = float(cell or 0)
    except ValueError:
        raise ValueError(f"Age {cell!r} is not a number of years") from None
    return age or None  # 0 stands for unknown


def _view(cells: dict[str, str]) -> str | None:
    side = cells["Frontal/Lateral"]
    if side == "Lateral":
        return "lateral"
    if side != "Frontal":
        raise ValueError(f"Frontal/Lateral {side!r} is neither")
    return _known("AP/PA", cells["AP/PA"], VIEWS)


def _known(column: str, cell: str, values: dict[str, str | None]) -> str | None:
    if cell not in values:
        raise ValueError(f"{column} {cell!r} is none of {', '.join(filter(None, values))} and blank")
    return values[cell]


def _races(source: str | Path, name: str) -> dict[str, str | None]:
    file = tables.find(source, name)
    table = tables.read(file)
    tables.check_columns(file, table, ("PATIENT", "PRIMARY_RACE"))
    return {row["PATIENT"]: race(row["PRIMARY_RACE"]) for row in table.rows}
