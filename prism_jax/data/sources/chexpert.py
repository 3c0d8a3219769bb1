"""CheXpert-v1.0 and CheXpert-v1.0-small: `train.csv` and `valid.csv` beside the folders of images.

CheXpert-v1.0 comes in four archives; their folders may lie beside each other in the source folder.

Values that are changed on reading: age 0 is missing, 90 means 90 or more; sex Unknown is unknown; a lateral image has
the view "lateral", a frontal one with the view LL or RL has none. No Finding as in `label_policy.read`.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from prism_jax.data import schema
from prism_jax.data.sources import label_policy, tables
from prism_jax.data.sources.ingest import IngestConfig, Row, race, split_of
from prism_jax.data.sources.label_policy import LabelPolicy

TABLES = ("train.csv", "valid.csv")
PREFIXES = ("CheXpert-v1.0/", "CheXpert-v1.0-small/")  # of paths; the source is the folder of that name
FIRST_BATCH = "CheXpert-v1.0 batch 1 (validate & csv)"  # tables and valid/
OTHER_BATCHES = "CheXpert-v1.0 batch * (train *)"  # patients of train/
SEXES = {"Male": "M", "Female": "F", "Unknown": None, "": None}
VIEWS = {"AP": "AP", "PA": "PA", "LL": None, "RL": None, "": None}  # of frontal images
COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *label_policy.CHEXPERT)
OFFICIAL = {"train.csv": "train", "valid.csv": "val"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChexpertConfig:
    """Images of CheXpert to store, labels and splits."""

    tables: tuple[str, ...] | None = None  # of TABLES; None: those that exist
    views: tuple[str, ...] | None = None  # only images of these views: "AP PA"; None: all, "lateral" too
    official_split: bool = False  # train.csv is train and valid.csv is val, instead of a hash of the patient
    demographics: str | None = None  # CSV with PATIENT and PRIMARY_RACE, the source of race
    policy: LabelPolicy = LabelPolicy()
    ingest: IngestConfig = IngestConfig()

    def __post_init__(self):
        self.policy.check(label_policy.CHEXPERT)


def read_rows(source: str | Path, config: ChexpertConfig) -> list[Row]:
    """All rows of the tables. Raises a ValueError for the first cell that makes no sense."""
    batches = _batches(Path(source))
    races = _races(source, config.demographics) if config.demographics else {}
    folder, rows = Path(source) / FIRST_BATCH, []
    folder = folder if folder.is_dir() else Path(source)
    existing = [name for name in TABLES if any((folder / f"{name}{end}").is_file() for end in ("", ".gz"))]
    for name in config.tables or existing or TABLES:
        file, table = tables.load(folder, name, COLUMNS)
        parse = functools.partial(_row, first=len(rows), table=name.removesuffix(".gz"), races=races, config=config)
        rows += tables.parse_rows(file, table, parse)
    rows = [dataclasses.replace(row, path=_in_batch(row.path, batches)) for row in rows] if batches else rows
    return [row for row in rows if config.views is None or row.attributes.view in config.views]


def _batches(source: Path) -> dict[str, str]:
    """The folder of each patient of train/ if the archives lie unpacked beside each other, else nothing."""
    folders = [(source / FIRST_BATCH) / "train", *sorted(source.glob(OTHER_BATCHES))]
    patients = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return {path.name: path.relative_to(source).as_posix() for path in patients}


def _in_batch(path: str, batches: dict[str, str]) -> str:
    top, patient, *rest = path.split("/")
    if top == "train" and patient in batches:
        return "/".join((batches[patient], *rest))
    return f"{FIRST_BATCH}/{path}"


def _row(
    index: int, cells: dict[str, str], *, first: int, table: str, races: dict[str, str | None], config: ChexpertConfig
) -> Row:
    path = cells["Path"]
    for prefix in PREFIXES:
        path = path.removeprefix(prefix)
    parts = path.split("/")
    if len(parts) < 4 or not parts[-3].startswith("patient"):
        raise ValueError(f"Path {cells['Path']!r} does not end with patientN/studyN/NAME.jpg")
    patient, study = parts[-3:-1]
    attributes = schema.Attributes(
        age=tables.number("Age", cells["Age"] or "0") or None,  # 0 stands for unknown
        sex=tables.choice("Sex", cells["Sex"], SEXES),
        view=_view(cells),
        race=races.get(patient),
        findings=label_policy.applied(
            label_policy.read(cells, label_policy.CHEXPERT), label_policy.CHEXPERT, config.policy
        ),
    )
    return Row(
        number=first + index,
        line=index + 2,
        path=path,
        patient=patient,
        study=f"{patient}/{study}",
        split=OFFICIAL.get(table, "test") if config.official_split else split_of(patient, config.ingest),
        attributes=attributes,
    )


def _view(cells: dict[str, str]) -> str | None:
    side = cells["Frontal/Lateral"]
    if side == "Lateral":
        return "lateral"
    if side != "Frontal":
        raise ValueError(f"Frontal/Lateral {side!r} is neither")
    return tables.choice("AP/PA", cells["AP/PA"], VIEWS)


def _races(source: str | Path, name: str) -> dict[str, str | None]:
    _, rows = tables.load(source, name, ("PATIENT", "PRIMARY_RACE"))
    return {row["PATIENT"]: race(row["PRIMARY_RACE"]) for row in rows}
