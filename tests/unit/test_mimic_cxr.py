"""MIMIC-CXR-JPG's tables join to one row per image; nothing here is from MIMIC, whose access is credentialed."""

import csv
import gzip
import io
from pathlib import Path

import pytest

from prism_jax.data.sources import label_policy, mimic_cxr
from prism_jax.data.sources.mimic_cxr import MimicConfig

LABELS = ("subject_id", "study_id", *sorted((label_policy.NO_FINDING, *label_policy.CHEXPERT)))
IMAGES = [
    {"dicom_id": "aa-01", "subject_id": "10000032", "study_id": "50414267", "ViewPosition": "PA"},
    {"dicom_id": "bb-02", "subject_id": "10000032", "study_id": "50414267", "ViewPosition": "LATERAL"},
    {"dicom_id": "cc-03", "subject_id": "10000764", "study_id": "57375967", "ViewPosition": "AP"},
    {"dicom_id": "dd-04", "subject_id": "10000764", "study_id": "59999999", "ViewPosition": ""},
]


def write(folder: Path, name: str, rows: list[dict[str, str]], columns: tuple = ()) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or tuple(rows[0]), restval="")
    writer.writeheader()
    writer.writerows(rows)
    data = text.getvalue().encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


@pytest.fixture
def source(tmp_path) -> Path:
    write(tmp_path, "mimic-cxr-2.0.0-metadata.csv.gz", [image | {"StudyDate": "21800506"} for image in IMAGES])
    ids = [{"subject_id": "10000032", "study_id": "50414267"}, {"subject_id": "10000764", "study_id": "57375967"}]
    found = [ids[0] | {"No Finding": "1.0"}, ids[1] | {"Edema": "-1.0", "Pneumonia": "0.0", "Support Devices": "1.0"}]
    write(tmp_path, "mimic-cxr-2.0.0-chexpert.csv.gz", found, LABELS)
    write(tmp_path, "mimic-cxr-2.0.0-negbio.csv.gz", [ids[0] | {"Edema": "1.0"}], LABELS)
    splits = dict(zip(("aa-01", "bb-02", "cc-03", "dd-04"), ("validate", "validate", "train", "train"), strict=True))
    write(tmp_path, "mimic-cxr-2.0.0-split.csv.gz", [{"dicom_id": i, "split": s} for i, s in splits.items()])
    return tmp_path


def test_an_image_has_the_path_and_the_labels_of_its_study(source):
    rows = mimic_cxr.read_rows(source, MimicConfig())
    assert rows[0].path == "files/p10/p10000032/s50414267/aa-01.jpg"
    assert [(row.patient, row.study) for row in rows[:3:2]] == [("10000032", "50414267"), ("10000764", "57375967")]
    normal, edema = {"finding": False}, {"Edema": None, "Pneumonia": False, "Support Devices": True}
    assert [row.attributes.findings for row in rows] == [normal, normal, edema, {}]
    assert [row.attributes.view for row in rows] == ["PA", "lateral", "AP", None]


def test_the_other_labeler_can_be_chosen(source):
    rows = mimic_cxr.read_rows(source, MimicConfig(labeler="negbio"))
    assert [row.attributes.findings for row in rows] == [{"Edema": True}, {"Edema": True}, {}, {}]


def test_splits_are_hashed_or_the_publishers(source):
    hashed = [row.split for row in mimic_cxr.read_rows(source, MimicConfig())]
    assert (hashed[0], hashed[2]) == (hashed[1], hashed[3])
    official = mimic_cxr.read_rows(source, MimicConfig(official_split=True))
    assert [row.split for row in official] == ["val", "val", "train", "train"]


def test_only_the_views_that_are_asked_for_are_kept(source):
    assert [row.number for row in mimic_cxr.read_rows(source, MimicConfig(views=("AP", "PA")))] == [0, 2]


def test_age_sex_and_race_come_from_mimic_iv(source):
    patient = {"subject_id": "10000032", "gender": "F", "anchor_age": "52", "anchor_year": "2178"}
    unknown = {"subject_id": "10000764", "gender": "M", "anchor_age": "0", "anchor_year": "2180"}
    write(source, "patients.csv.gz", [patient, unknown])
    races = ["WHITE", "BLACK/AFRICAN AMERICAN", "WHITE", "UNKNOWN", "UNKNOWN", "UNKNOWN"]
    write(source, "admissions.csv.gz", [{"subject_id": "10000032", "race": race} for race in races])
    rows = mimic_cxr.read_rows(source, MimicConfig(patients="patients.csv.gz", admissions="admissions.csv.gz"))
    known = [(row.attributes.age, row.attributes.sex, row.attributes.race) for row in rows]
    assert known == [(54, "F", "White")] * 2 + [(None, "M", None)] * 2


def test_reports_come_from_the_table_of_sections_or_from_text_files(source):
    write(source, "sectioned.csv", [{"study": "s50414267", "findings": "Clear.", "impression": "No  acute\nprocess."}])
    rows = mimic_cxr.read_rows(source, MimicConfig(sections="sectioned.csv"))
    assert [row.text for row in rows] == ["No acute process."] * 2 + [""] * 2
    for row in IMAGES:
        folder = source / "reports" / f"p10/p{row['subject_id']}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"s{row['study_id']}.txt").write_text(f"IMPRESSION: Study {row['study_id']}.\n")
    rows = mimic_cxr.read_rows(source, MimicConfig(reports="reports"))
    assert [row.text for row in rows] == [f"Study {row['study_id']}." for row in IMAGES]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reports": "nowhere"}, "row 2 .*report .*nowhere.* cannot be read"),
        ({"sections": "nowhere.csv"}, "no table .*nowhere.csv"),
        ({"patients": "mimic-cxr-2.0.0-split.csv.gz"}, "has no column subject_id, gender"),
    ],
)
def test_a_table_that_is_missing_or_another_is_named(source, options, said):
    with pytest.raises(ValueError, match=said):
        mimic_cxr.read_rows(source, MimicConfig(**options))


def test_two_sources_of_reports_are_refused():
    with pytest.raises(ValueError, match="give one of them"):
        MimicConfig(sections="a.csv", reports="b")


def test_an_image_that_the_split_file_lacks_is_named(source):
    write(source, "mimic-cxr-2.0.0-split.csv.gz", [{"dicom_id": "aa-01", "split": "test"}])
    with pytest.raises(ValueError, match=r"row 3 .*image bb-02 is not in"):
        mimic_cxr.read_rows(source, MimicConfig(official_split=True))
