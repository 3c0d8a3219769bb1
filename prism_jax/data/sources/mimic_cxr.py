"""MIMIC-CXR-JPG: `mimic-cxr-2.0.0-metadata.csv.gz` and the label tables others `files/`.

Labels belong to a study and apply to all its images; a study without labels has no findings. Sex, age and race come
from `patients.csv.gz` and `admissions.csv.gz` of MIMIC-IV if given: age at the study, where 91 or more stands for every
age above 89, and the race of most admissions. LATERAL and LL become the view "lateral"; other views are kept.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Literal

from prism_jax.data import schema
from prism_jax.data.captions import radiology_reports
from prism_jax.data.sources import label_policy, tables
from prism_jax.data.sources.ingest import IngestConfig, Row, race, split_of
from prism_jax.data.sources.label_policy import LabelPolicy

METADATA, SPLITS = "mimic-cxr-2.0.0-metadata.csv", "mimic-cxr-2.0.0-split.csv"  # also with .gz
LABELS = "mimic-cxr-2.0.0-{labeler}.csv"
VIEWS = {"LATERAL": "lateral", "LL": "lateral", "": None}
OFFICIAL = {"train": "train", "validate": "val", "test": "test"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MimicConfig:
    """Images of MIMIC-CXR-JPG to store, labels, reports and splits. Files are relative to the source folder."""

    labeler: Literal["chexpert", "negbio"] = "chexpert"
    views: tuple[str, ...] | None = None  # only images of these views: "AP PA"; None: all, "lateral" too
    official_split: bool = False  # the publisher's split file instead of a hash of the patient
    sections: str | None = None  # CSV with study, findings, impression, as MIMIC's own script writes it
    reports: str | None = None  # or the folder that holds p10/p10000032/s50414267.txt
    section: Literal["impression", "findings"] = "impression"  # the part of a report to store
    patients: str | None = None  # MIMIC-IV's patients.csv.gz
    admissions: str | None = None  # MIMIC-IV's admissions.csv.gz
    policy: LabelPolicy = LabelPolicy()
    ingest: IngestConfig = IngestConfig()

    def __post_init__(self):
        self.policy.check(label_policy.CHEXPERT)
        if self.sections and self.reports:
            raise ValueError("sections and reports cannot both be given; give one of them")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OtherTables:
    """Content of the other tables, by study, patient or image."""

    findings: dict[str, dict[str, bool | None]]  # study -> findings
    splits: dict[str, str] | None  # image -> split of the publisher
    texts: dict[str, str]  # study -> section
    patients: dict[str, dict[str, str]]  # patient -> row of patients.csv
    races: dict[str, str]  # patient -> race


def read_rows(source: str | Path, config: MimicConfig) -> list[Row]:
    """All rows of the metadata. Raises a ValueError for the first cell that makes no sense."""
    file, table = tables.load(source, METADATA, ("dicom_id", "subject_id", "study_id", "ViewPosition", "StudyDate"))
    others = _OtherTables(
        findings=_findings(source, config),
        splits=_splits(source) if config.official_split else None,
        texts=_texts(source, config) if config.sections else {},
        patients=_patients(source, config.patients) if config.patients else {},
        races=_races(source, config.admissions) if config.admissions else {},
    )
    parse = lambda index, cells: _row(index, cells, Path(source), others, config)
    rows = tables.parse_rows(file, table, parse)
    return [row for row in rows if config.views is None or row.attributes.view in config.views]


def _row(number: int, cells: dict[str, str], source: Path, others: _OtherTables, config: MimicConfig) -> Row:
    patient, study, image = cells["subject_id"], cells["study_id"], cells["dicom_id"]
    if not (patient.isdigit() and study.isdigit() and image):
        raise ValueError(f"subject_id {patient!r}, study_id {study!r}, dicom_id {image!r} do not name an image")
    folder = f"p{patient[:2]}/p{patient}/s{study}"
    split = split_of(patient, config.ingest) if others.splits is None else others.splits.get(image)
    if split is None:
        raise ValueError(f"image {image} is not in {SPLITS}; leave official_split out")
    demographics, view = others.patients.get(patient, {}), cells["ViewPosition"]
    return Row(
        number=number,
        line=number + 2,
        path=f"files/{folder}/{image}.jpg",
        patient=patient,
        study=study,
        split=split,
        text=_report(source, folder, config) if config.reports else others.texts.get(study, ""),
        attributes=schema.Attributes(
            age=_age(demographics, cells["StudyDate"]),
            sex={"M": "M", "F": "F"}.get(demographics.get("gender", "")),
            view=VIEWS.get(view, view),
            race=others.races.get(patient),
            findings=label_policy.applied(others.findings.get(study, {}), label_policy.CHEXPERT, config.policy),
        ),
    )


def _findings(source: str | Path, config: MimicConfig) -> dict[str, dict[str, bool | None]]:
    name = LABELS.format(labeler=config.labeler)
    file, table = tables.load(source, name, ("study_id", label_policy.NO_FINDING, *label_policy.CHEXPERT))
    parse = lambda index, cells: (cells["study_id"], label_policy.read(cells, label_policy.CHEXPERT))
    return dict(tables.parse_rows(file, table, parse))


def _splits(source: str | Path) -> dict[str, str]:
    file, table = tables.load(source, SPLITS, ("dicom_id", "split"))
    parse = lambda index, cells: (cells["dicom_id"], tables.choice("split", cells["split"], OFFICIAL))
    return dict(tables.parse_rows(file, table, parse))


def _texts(source: str | Path, config: MimicConfig) -> dict[str, str]:
    _, rows = tables.load(source, config.sections, ("study", config.section))
    return {cells["study"].removeprefix("s"): " ".join(cells[config.section].split()) for cells in rows}


def _report(source: Path, folder: str, config: MimicConfig) -> str:
    file = source / config.reports / f"{folder}.txt"
    try:
        return radiology_reports.section(file.read_text(encoding="utf-8"), config.section)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"report {file} cannot be read: {error}") from None


def _patients(source: str | Path, name: str) -> dict[str, dict[str, str]]:
    _, rows = tables.load(source, name, ("subject_id", "gender", "anchor_age", "anchor_year"))
    return {cells["subject_id"]: cells for cells in rows}


def _age(demographics: dict[str, str], date: str) -> float | None:
    """Age in years at the study; dates are shifted alike in MIMIC-IV and MIMIC-CXR. 0 stands for unknown."""
    if not demographics:
        return None
    try:
        anchor, year = float(demographics["anchor_age"]), int(demographics["anchor_year"])
        age = anchor + int(date[:4]) - year
    except ValueError:
        raise ValueError(
            f"no age from StudyDate {date!r}, {demographics['anchor_age']!r} in {demographics['anchor_year']!r}"
        ) from None
    return age if anchor > 0 and age > 0 else None


def _races(source: str | Path, name: str) -> dict[str, str]:
    _, rows = tables.load(source, name, ("subject_id", "race"))
    counts: dict[str, Counter[str]] = {}
    for cells in rows:
        name = race(cells["race"].capitalize())
        if name:
            counts.setdefault(cells["subject_id"], Counter())[name] += 1
    return {patient: min(races, key=lambda name: (-races[name], name)) for patient, races in counts.items()}
