"""ChestX-ray14 of the NIH Clinical Center: `Data_Entry_2017_v2020.csv` beside the folders of images.

Labels are mined from reports: a finding that a row does not list is unmentioned, and No Finding is taken as stated.
Children are included, and an age of 0 is valid: the follow-ups of such patients are 0 to 5. Ages above 120, of which
the table of 2017 has some, count as missing. All images are frontal. Files are 1024 x 1024, so height, width and
spacing of the original come from the table.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from prism_jax.data import schema
from prism_jax.data.sources import label_policy, tables
from prism_jax.data.sources.ingest import IngestConfig, Row, split_of
from prism_jax.data.sources.label_policy import LabelPolicy

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")  # the first that exists
SEXES = {"M": "M", "F": "F", "": None}
VIEWS = {"AP": "AP", "PA": "PA"}
OLDEST = 120  # years
TEST_LIST = "test_list.txt"
COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")
# The header is not quoted, so each bracket with a comma makes two columns.
SIZE = ("OriginalImage[Width", "Height]")
SPACING = ("OriginalImagePixelSpacing[x", "y]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NihConfig:
    """Images of ChestX-ray14 to store, labels and splits."""

    table: str | None = None  # its name; None: the newest that exists
    views: tuple[str, ...] | None = None  # only images of these views: "PA"; None: AP and PA
    official_split: bool = False  # test is the publisher's test_list.txt; the others are split by their hash
    policy: LabelPolicy = LabelPolicy()
    ingest: IngestConfig = IngestConfig()

    def __post_init__(self):
        self.policy.check(label_policy.NIH)


def read_rows(source: str | Path, config: NihConfig) -> list[Row]:
    """All rows of the table. Raises a ValueError for the first cell that makes no sense."""
    file, table = tables.load(source, config.table or TABLES, (*COLUMNS, *SIZE, *SPACING))
    places = _places(Path(source))
    tested = _tested(source) if config.official_split else None
    rows = tables.parse_rows(file, table, lambda index, cells: _row(index, cells, places, tested, config))
    return [row for row in rows if config.views is None or row.attributes.view in config.views]


def _row(number: int, cells: dict[str, str], places: dict[str, str], tested: set[str] | None, config) -> Row:
    name, patient = cells["Image Index"], cells["Patient ID"]
    findings = label_policy.listed(cells["Finding Labels"].split("|"), label_policy.NIH)
    width, height, across, down = (tables.number(column, cells[column]) for column in (*SIZE, *SPACING))
    return Row(
        number=number,
        line=number + 2,
        path=places.get(name, f"images/{name}"),
        patient=patient,
        study=name.rpartition(".")[0],  # a follow-up has one image
        split=_split(name, patient, tested, config.ingest),
        size=(round(height), round(width)),
        spacing=(down, across) if down > 0 and across > 0 else None,
        attributes=schema.Attributes(
            age=_age(cells["Patient Age"]),
            sex=tables.choice("Patient Gender", cells["Patient Gender"], SEXES),
            view=tables.choice("View Position", cells["View Position"], VIEWS),
            findings=label_policy.applied(findings, label_policy.NIH, config.policy),
        ),
    )


def _split(name: str, patient: str, tested: set[str] | None, ingest: IngestConfig) -> str:
    if tested is None:
        return split_of(patient, ingest)
    if name in tested:
        return "test"
    train, val, _ = ingest.fractions
    if train + val == 0:
        raise ValueError(f"fractions {ingest.fractions} leave nothing for the images that are not in {TEST_LIST}")
    fraction = train / (train + val)
    return split_of(patient, dataclasses.replace(ingest, fractions=(fraction, 1 - fraction, 0.0)))


def _age(cell: str) -> float | None:
    if not cell:
        return None
    age = tables.number("Patient Age", cell.removesuffix("Y"))  # 058Y in early tables
    return age if age <= OLDEST else None


def _places(source: Path) -> dict[str, str]:
    """Path of each image: in images/, or in images_001/images/ to images_012/images/ as unpacked."""
    folders = [source / "images", *sorted(source.glob("images_*/images"))]
    return {
        entry.name: (folder / entry.name).relative_to(source).as_posix()
        for folder in folders
        if folder.is_dir()
        for entry in os.scandir(folder)
    }


def _tested(source: str | Path) -> set[str]:
    file = Path(source) / TEST_LIST
    if not file.is_file():
        raise ValueError(f"official_split needs {file}, which is missing; download it, or leave official_split out")
    return set(file.read_text().split())
