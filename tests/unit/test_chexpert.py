"""CheXpert's tables: the publisher's counts, and captions that read back."""

import csv
from pathlib import Path

import pytest

from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.sources import chexpert, label_policy
from prism_jax.data.sources.chexpert import ChexpertConfig

HEADER = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", label_policy.NO_FINDING, *label_policy.CHEXPERT)
ROW = {"Path": "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg", "Sex": "Female", "Age": "68"}
ROW |= {"Frontal/Lateral": "Frontal", "AP/PA": "AP"}


def write(folder: Path, *rows: dict[str, str], name: str = "train.csv") -> None:
    with open(folder / name, "w", newline="") as file:
        writer = csv.DictWriter(file, HEADER, restval="")
        writer.writeheader()
        writer.writerows([ROW | row for row in rows])


def rows_of(folder: Path, *rows: dict[str, str], **options) -> list:
    write(folder, *rows)
    return chexpert.read_rows(folder, ChexpertConfig(**options))


def test_the_name_of_the_release_is_no_part_of_a_path(tmp_path):
    paths = [ROW["Path"], "CheXpert-v1.0/train/patient00002/study3/view1_frontal.jpg"]
    first, second = rows_of(tmp_path, *({"Path": path} for path in paths))
    assert first.path == "train/patient00001/study1/view1_frontal.jpg"
    assert (second.path, second.patient, second.study) == (
        "train/patient00002/study3/view1_frontal.jpg",
        "patient00002",
        "patient00002/study3",
    )


@pytest.mark.parametrize("name", label_policy.CHEXPERT)
def test_every_label_column_is_read(tmp_path, name):
    rows = rows_of(tmp_path, {name: "1.0"}, {name: "0.0"}, {name: ""})
    assert [row.attributes.findings for row in rows] == [{name: True}, {name: False}, {}]


def test_all_images_of_a_patient_are_in_one_split(tmp_path):
    path = "CheXpert-v1.0/train/patient{:05}/study{}/view1_frontal.jpg"
    rows = rows_of(tmp_path, *({"Path": path.format(i, study)} for i in range(100) for study in range(5)))
    splits = {}
    for row in rows:
        splits.setdefault(row.patient, set()).add(row.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {"train", "val", "test"} == set().union(*splits.values())


@pytest.mark.parametrize(
    ("cells", "view"),
    [
        ({"AP/PA": "PA"}, "PA"),
        ({"Frontal/Lateral": "Lateral", "AP/PA": ""}, "lateral"),
        ({"AP/PA": "LL"}, None),
        ({"AP/PA": ""}, None),
    ],
)
def test_views(tmp_path, cells, view):
    assert rows_of(tmp_path, cells)[0].attributes.view == view


def test_age_0_and_sex_unknown_are_unknown_and_90_is_stated(tmp_path):
    first, second = rows_of(tmp_path, {"Age": "0", "Sex": "Unknown"}, {"Age": "90"})
    assert PLAIN.describe(first.attributes) == "Chest X-ray of a patient, AP view"
    assert PLAIN.describe(second.attributes) == "Chest X-ray of a 90-year-old woman, AP view"


def test_only_the_views_that_are_asked_for_are_kept_under_their_numbers(tmp_path):
    sides = [{}, {"Frontal/Lateral": "Lateral", "AP/PA": ""}, {"AP/PA": "PA"}]
    assert [row.number for row in rows_of(tmp_path, *sides, views=("AP", "PA"))] == [0, 2]


def test_both_tables_are_read_and_may_be_the_splits(tmp_path):
    write(tmp_path, ROW, ROW)
    write(tmp_path, {"Path": "CheXpert-v1.0/valid/patient64541/study1/view1_frontal.jpg"}, name="valid.csv")
    rows = chexpert.read_rows(tmp_path, ChexpertConfig(official_split=True))
    assert [(row.number, row.line, row.split) for row in rows] == [(0, 2, "train"), (1, 3, "train"), (2, 2, "val")]
    assert len(chexpert.read_rows(tmp_path, ChexpertConfig(tables=("valid.csv",)))) == 1


def test_the_archives_of_the_full_release_are_read_where_they_are_unpacked(tmp_path):
    (tmp_path / chexpert.FIRST_BATCH).mkdir()
    (tmp_path / "CheXpert-v1.0 batch 3 (train 2)" / "patient00001").mkdir(parents=True)
    missing = {"Path": "CheXpert-v1.0/train/patient00002/study1/view1_frontal.jpg"}
    write(tmp_path / chexpert.FIRST_BATCH, {}, missing)
    valid = {"Path": "CheXpert-v1.0/valid/patient64541/study1/view1_frontal.jpg"}
    write(tmp_path / chexpert.FIRST_BATCH, valid, name="valid.csv")
    assert [row.path for row in chexpert.read_rows(tmp_path, ChexpertConfig())] == [
        "CheXpert-v1.0 batch 3 (train 2)/patient00001/study1/view1_frontal.jpg",
        f"{chexpert.FIRST_BATCH}/train/patient00002/study1/view1_frontal.jpg",
        f"{chexpert.FIRST_BATCH}/valid/patient64541/study1/view1_frontal.jpg",
    ]


def test_race_comes_from_the_table_of_demographics(tmp_path):
    lines = ["PATIENT,PRIMARY_RACE", 'patient00001,"White, non-Hispanic"', "patient00002,Race and Ethnicity Unknown"]
    (tmp_path / "demo.csv").write_text("\n".join(lines))
    paths = [ROW["Path"].replace("00001", number) for number in ("00001", "00002", "00003")]
    rows = rows_of(tmp_path, *({"Path": path} for path in paths), demographics="demo.csv")
    assert [row.attributes.race for row in rows] == ["White", None, None]


def test_the_policy_is_applied_to_what_is_read(tmp_path):
    policy = label_policy.LabelPolicy(uncertain_of=("Edema=positive",), unmentioned_of=("Pneumothorax=negative",))
    (row,) = rows_of(tmp_path, {"Edema": "-1.0", "Fracture": "-1.0"}, policy=policy)
    assert row.attributes.findings == {"Edema": True, "Fracture": None, "Pneumothorax": False}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"Path": "train/view1.jpg"}, "does not end with patientN/studyN"),
        ({"Age": "old"}, "Age 'old' is not a number"),
        ({"Sex": "X"}, "Sex 'X' is none of Male, Female"),
        ({"Edema": "yes"}, "Edema must be 1.0, 0.0, -1.0 or blank, got 'yes'"),
        ({"Frontal/Lateral": "Oblique"}, "'Oblique' is neither"),
        ({"AP/PA": "up"}, "AP/PA 'up' is none of AP, PA"),
    ],
)
def test_a_cell_that_makes_no_sense_is_named_with_its_row(tmp_path, cells, said):
    with pytest.raises(ValueError, match=rf"train\.csv, row 3 .*{said}"):
        rows_of(tmp_path, {}, cells)


def test_a_folder_without_the_tables_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no table .*train\.csv; the folder has no table"):
        chexpert.read_rows(tmp_path, ChexpertConfig())
    (tmp_path / "train.csv").write_text("Path,Sex\na,b\n")
    with pytest.raises(ValueError, match="has no column Age, Frontal/Lateral"):
        chexpert.read_rows(tmp_path, ChexpertConfig())


def test_a_policy_for_an_unknown_finding_is_refused():
    with pytest.raises(ValueError, match="names 'mass'; the findings are"):
        ChexpertConfig(policy=label_policy.LabelPolicy(uncertain_of=("mass=positive",)))
