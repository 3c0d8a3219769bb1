"""Builds of real data: CheXpert's published table and a COVID-19 folder."""

import csv
import gzip
from pathlib import Path

import pytest

from prism_jax.data.loading import pipeline
from prism_jax.data.sources import folder
from tests.build_dataset import build
from tests.programs.test_builders import (  # noqa: F401 (collected here with the published table's tree)
    COUNT,
    built,
    test_bad_files_are_listed_with_row_and_reason_and_nothing_else_is_missing,
    test_no_patient_is_in_two_splits_and_order_and_number_of_rows_do_not_matter,
    test_stored_examples_are_what_table_and_files_say,
    write_tree,
)
from tests.reference.conftest import shared_folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """The first rows of CheXpert's published table, with drawn images."""
    with gzip.open(shared_folder("data", "labels", "chexpert_train.csv.gz"), "rt", newline="") as lines:
        rows = [row for _, row in zip(range(COUNT), csv.DictReader(lines), strict=False)]
    return write_tree(tmp_path_factory.mktemp("source"), rows)


def test_covid_images_build_with_what_is_known_of_them(tmp_path):
    real = shared_folder("data", "covid-cxr")
    options = {
        "path": "images/{id}.jpg",
        "patient_column": "patient_id",
        "patient_pattern": r"\d+",
        "text_column": "clinical_notes",
        "flags": ("intubated=endotracheal tube",),
        "masks": ("lungs=masks/{id}.png",),
        "mask_column": "mask",
    }
    made = build("folder", real, tmp_path / "covid", **options)
    assert (sum(made.counts.values()), made.errors) == (416, 0)
    examples = [e for split in ("train", "val", "test") for e in pipeline.open_split(tmp_path / "covid", split)]
    known = [example.attributes for example in examples]
    assert sum(one.age is not None for one in known) == 304
    assert [sum(one.sex == sex for one in known) for sex in ("M", "F", None)] == [218, 158, 40]
    assert [sum(one.view == view for one in known) for view in ("PA", "AP Supine", "AP")] == [227, 101, 88]
    tubes = [(one.view, one.findings.get("endotracheal tube")) for one in known]
    assert [tubes.count(("AP Supine", state)) for state in (True, False, None)] == [24, 13, 64]
    assert sum(bool(example.text) for example in examples) == 331
    assert sum(list(example.masks) == ["lungs"] for example in examples) == 147
    splits = {row.patient: row.split for row in folder.read_rows(real, folder.FolderConfig(**options))}
    assert len(splits) == 237
