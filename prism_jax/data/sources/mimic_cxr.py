"""MIMIC-CXR-JPG: `mimic-cxr-2.0.0-metadata.csv.gz` and the label tables beside `files/`.

Labels are those of a study, so its images share them; a study without labels has no findings. Sex, age and race come
from `patients.csv.gz` and `admissions.csv.gz` of MIMIC-IV where these are given: the age is that at the study, 91 or
more stands for every age above 89, and race is the one that most admissions state. LATERAL and LL are the view
"lateral"; the others stand as they are.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Literal

from prism_jax.data import schema
from prism_jax.data.captions import radiology_reports
from prism_jax.data.sources import label_policy, tables
from prism_jax.data.sources.ingest import Intake, Row, race, split_of
from prism_jax.data.sources.label_policy import LabelPolicy

METADATA, SPLITS = "mimic-cxr-2.0.0-metadata.csv", "mimic-cxr-2.0.0-split.csv"  # each perhaps with .gz
LABELS = "mimic-cxr-2.0.0-{labeler}.csv"
VIEWS = {"LATERAL": "lateral", "LL": "lateral", "": None}
OFFICIAL = {"train": "train", "validate": "val", "test": "test"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MimicConfig:
    """Which images of MIMIC-CXR-JPG to store, and how. Files are relative to the source folder."""

    labeler: Literal["chexpert", "negbio"] = "chexpert"
    views: tuple[str, ...] | None = None  # only images of these views: "AP PA"; None takes all, "lateral" too
    official_split: bool = False  # the publisher's split file instead of a hash of the patient
    sections: str | None = None  # CSV with study, findings, impression, as MIMIC's own script writes it
    reports: str | None = None  # or the folder that holds p10/p10000032/s50414267.txt
    section: Literal["impression", "findings"] = "impression"  # the part of a report to store
    patients: str | None = None  # MIMIC-IV's patients.csv.gz
    admissions: str | None = None  # MIMIC-IV's admissions.csv.gz
    policy: LabelPolicy = LabelPolicy()
    intake: Intake = Intake()

    def __post_init__(self):
        self.policy.check(label_policy.CHEXPERT)
        if self.sections and self.reports:
            raise ValueError("sections and reports are both given; give one of them")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Beside:
    """What other tables say, by study, patient or image."""

    findings: dict[str, dict[str, bool | None]]  # study -> findings
    splits: dict[str, str] | None  # image -> split of the publisher
    texts: dict[str, str]  # study -> section
    patients: dict[str, dict[str, str]]  # patient -> row of patients.csv
    races: dict[str, str]  # patient -> race


def read_rows(source: str | Path, config: MimicConfig) -> list[Row]:
    """All rows of the metadata. Raises a ValueError for the first cell that makes no sense."""
    file, table = _table(source, METADATA, ("dicom_id", "subject_id", "study_id", "ViewPosition", "StudyDate"))
    beside = _Beside(
        findings=_findings(source, config),
        splits=_splits(source) if config.official_split else None,
        texts=_texts(source, config) if config.sections else {},
        patients=_patients(source, config.patients) if config.patients else {},
        races=_races(source, config.admissions) if config.admissions else {},
    )
    rows = []
    for number, cells in enumerate(table.rows):
        try:
            rows.append(_row(number, cells, Path(source), beside, config))
        except ValueError as error:
            raise ValueError(f"{file.name}, row {number + 2} (the header is row 1): {error}") from None
    return [row for row in rows if config.views is None or row.attributes.view in config.views]


def _row(number: int, cells: dict[str, str], source: Path, beside: _Beside, config: MimicConfig) -> Row:
    patient, study, image = cells["subject_id"], cells["study_id"], cells["dicom_id"]
    if not (patient.isdigit() and study.isdigit() and image):
        raise ValueError(f"subject_id {patient!r}, study_id {study!r}, dicom_id {image!r} do not name an image")
    folder = f"p{patient[:2]}/p{patient}/s{study}"
    split = split_of(patient, config.intake) if beside.splits is None else beside.splits.get(image)
    if split is None:
        raise ValueError(f"image {image} is not in {SPLITS}; leave official_split out")
    known, view = beside.patients.get(patient, {}), cells["ViewPosition"]
    return Row(
        number=number,
        line=number + 2,
        path=f"files/{folder}/{image}.jpg",
        patient=patient,
        study=study,
        split=split,
        text=_report(source, folder, config) if config.reports else beside.texts.get(study, ""),
        attributes=schema.Attributes(
            age=_age(known, cells["StudyDate"]),
            sex={"M": "M", "F": "F"}.get(known.get("gender", "")),
            view=VIEWS.get(view, view),
            race=beside.races.get(patient),
            findings=label_policy.applied(beside.findings.get(study, {}), label_policy.CHEXPERT, config.policy),
        ),
    )


def _table(source: str | Path, name: str, columns: tuple[str, ...]) -> tuple[Path, tables.Table]:
    file = tables.find(source, name)
    table = tables.read(file)
    tables.check_columns(file, table, columns)
    return file, table


def _findings(source: str | Path, config: MimicConfig) -> dict[str, dict[str, bool | None]]:
    name = LABELS.format(labeler=config.labeler)
    file, table = _table(source, name, ("study_id", label_policy.NO_FINDING, *label_policy.CHEXPERT))
    found = {}
    for line, cells in enumerate(table.rows, 2):
        try:
            found[cells["study_id"]] = label_policy.read(cells, label_policy.CHEXPERT)
        except ValueError as error:
            raise ValueError(f"{file.name}, row {line} (the header is row 1): {error}") from None
    return found


def _splits(source: str | Path) -> dict[str, str]:
    file, table = _table(source, SPLITS, ("dicom_id", "split"))
    unknown = {cells["split"] for cells in table.rows} - OFFICIAL.keys()
    if unknown:
        raise ValueError(f"{file.name} has the split {', '.join(sorted(unknown))}; known are {', '.join(OFFICIAL)}")
    return {cells["dicom_id"]: OFFICIAL[cells["split"]] for cells in table.rows}


def _texts(source: str | Path, config: MimicConfig) -> dict[str, str]:
    _, table = _table(source, config.sections, ("study", config.section))
    return {cells["study"].removeprefix("s"): " ".join(cells[config.section].split()) for cells in table.rows}


def _report(source: Path, folder: str, config: MimicConfig) -> str:
    file = source / config.reports / f"{folder}.txt"
    try:
        return radiology_reports.section(file.read_text(encoding="utf-8"), config.section)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"report {file} cannot be read: {error}") from None


def _patients(source: str | Path, name: str) -> dict[str, dict[str, str]]:
    _, table = _table(source, name, ("subject_id", "gender", "anchor_age", "anchor_year"))
    return {cells["subject_id"]: cells for cells in table.rows}


def _age(known: dict[str, str], date: str) -> float | None:
    """Years at the study; dates are shifted alike in MIMIC-IV and MIMIC-CXR. 0 stands for unknown."""
    if not known:
        return None
    try:
        anchor, year = float(known["anchor_age"]), int(known["anchor_year"])
        age = anchor + int(date[:4]) - year
    except ValueError:
        raise ValueError(
            f"no age from StudyDate {date!r}, {known['anchor_age']!r} in {known['anchor_year']!r}"
        ) from None
    return age if anchor > 0 and age > 0 else None


def _races(source: str | Path, name: str) -> dict[str, str]:
    _, table = _table(source, name, ("subject_id", "race"))
    counts: dict[str, Counter[str]] = {}
    for cells in table.rows:
        name = race(cells["race"].capitalize())
        if name:
            counts.setdefault(cells["subject_id"], Counter())[name] += 1
    return {patient: min(found, key=lambda name: (-found[name], name)) for patient, found in counts.items()}
