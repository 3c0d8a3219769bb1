"""The folder builder: any CSV, patient-level splits, bad images counted."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.loading import pipeline
from prism_jax.data.sources import build as builder
from prism_jax.data.sources import folder, ingest
from prism_jax.data.sources.build import read_build
from prism_jax.data.sources.folder import FolderConfig
from prism_jax.data.sources.ingest import IngestConfig
from tests.build_dataset import build

HEADER = ("path", "patient", "sex", "age", "view", "findings")


def write_table(source: Path, rows: list[tuple], header: tuple = HEADER) -> None:
    source.mkdir(exist_ok=True)
    with open(source / "metadata.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def write_image(path: Path, shape: tuple[int, int] = (20, 30), level: int = 90) -> bytes:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.full(shape, level, np.uint8)).save(path)
    return path.read_bytes()


def findings_of(tmp_path: Path, cell: str, **config) -> dict[str, bool]:
    write_table(tmp_path, [("a.png", "p", "M", "60", "PA", cell)])
    return folder.read_rows(tmp_path, FolderConfig(**config))[0].attributes.findings


def good_folder(source: Path, patients: int = 30, each: int = 2) -> list[tuple]:
    rows = []
    for i in range(patients):
        for j in range(each):
            write_image(source / f"x/{i}-{j}.png", level=i)
            rows.append((f"x/{i}-{j}.png", f"p{i}", "MF"[i % 2], str(20 + i), "AP", "Edema;Support_Devices"))
    write_table(source, rows)
    return rows


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """(source, out) of a folder with two bad images among 60."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built") / "set"
    good_folder(source)
    (source / "x/3-0.png").unlink()
    (source / "x/7-1.png").write_bytes((source / "x/7-1.png").read_bytes()[:45])
    made = build("folder", source, out, fractions=(0.5, 0.25, 0.25))
    assert sum(made.counts.values()) == 58
    assert str(made).endswith(f"2 left out, see {out / 'errors.csv'}")
    return source, out


def examples(out: Path) -> dict[str, list]:
    return {split: list(pipeline.open_split(out, split)) for split in ("train", "val", "test")}


def test_no_patient_is_in_two_splits(built):
    patients = [{example.patient for example in split} for split in examples(built[1]).values()]
    assert all(patients)
    assert sum(map(len, patients)) == len(set.union(*patients)) == 30


def test_the_missing_and_the_cut_image_are_listed_with_row_and_reason(built):
    with open(built[1] / "errors.csv", newline="") as file:
        errors = list(csv.DictReader(file))
    assert [(line["row"], line["path"]) for line in errors] == [("8", "x/3-0.png"), ("17", "x/7-1.png")]
    assert "No such file" in errors[0]["reason"]
    assert "corrupt" in errors[1]["reason"]


def test_stored_examples_hold_the_file_and_what_the_table_says(built):
    stored = [example for split in examples(built[1]).values() for example in split]
    assert len({example.id for example in stored}) == 58
    for example in stored:
        number = int(example.path.removeprefix("x/").split("-")[0])
        assert example.image == (built[0] / example.path).read_bytes()
        assert (example.height, example.width) == (20, 30)
        assert example.attributes.age == 20 + number
        assert PLAIN.describe(example.attributes).endswith("AP view, with edema, support devices")


def test_examples_keep_the_order_of_the_table(built):
    for split in examples(built[1]).values():
        assert [example.id for example in split] == sorted(example.id for example in split)


def test_batches_come_from_a_built_folder(built):
    batch = next(pipeline.batches(pipeline.open_split(built[1], "train"), 4, size=(24, 16), seed=0))
    assert batch["image"].shape == (4, 24, 16, 3)
    with pytest.raises(ValueError, match=r"no split 'dev' in .*; it has train, val, test"):
        pipeline.batches(pipeline.open_split(built[1], "dev"), 4, size=16)


def test_a_build_remembers_its_configuration_and_needs_no_tensorflow(built):
    assert read_build(built[1]) == ("folder", FolderConfig(ingest=IngestConfig(fractions=(0.5, 0.25, 0.25))))
    assert "tensorflow" not in sys.modules


def test_a_build_of_an_older_version_remembers_its_configuration(built, tmp_path):
    text = (built[1] / "build.json").read_text()
    (tmp_path / "build.json").write_text(text.replace('"ingest": {', '"intake": {'))
    assert "intake" in (tmp_path / "build.json").read_text()
    assert read_build(tmp_path) == read_build(built[1])


def test_a_source_folder_and_a_missing_folder_are_named_as_such(built, tmp_path):
    with pytest.raises(ValueError, match=r"is a source folder \(it has metadata.csv\).*--out NEW_FOLDER"):
        pipeline.open_split(built[0], "train")
    with pytest.raises(ValueError, match=r"data set .*nowhere does not exist; build it with"):
        pipeline.open_split(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match=r"source folder .*nowhere does not exist"):
        build("folder", tmp_path / "nowhere", tmp_path / "set")
    assert not list(tmp_path.iterdir())


def test_a_row_whose_mask_cell_is_empty_has_no_mask(tmp_path):
    (tmp_path / "metadata.csv").write_text("path,patient,mask\na.png,1,m/a.png\nb.png,2,\n")
    config = FolderConfig(
        masks=("lungs={mask}",), sex_column=None, age_column=None, view_column=None, findings_column=None
    )
    assert [row.masks for row in folder.read_rows(tmp_path, config)] == [{"lungs": "m/a.png"}, {}]


def test_nothing_is_left_beside_the_built_folder(built):
    assert [path.name for path in built[1].parent.iterdir()] == ["set"]


def test_splits_do_not_depend_on_order_or_number_of_rows(tmp_path):
    rows = good_folder(tmp_path)
    before = {row.patient: row.split for row in folder.read_rows(tmp_path, FolderConfig())}
    write_table(tmp_path, rows[::-1][:20])
    after = {row.patient: row.split for row in folder.read_rows(tmp_path, FolderConfig())}
    assert after.items() <= before.items()


def test_the_patient_pattern_joins_suffixed_patients(tmp_path):
    write_table(tmp_path, [(f"{s}.png", f"326{s}", "", "", "", "") for s in "ab"])
    rows = folder.read_rows(tmp_path, FolderConfig(patient_pattern=r"\d+"))
    assert {row.patient for row in rows} == {"326"}


def test_an_empty_cell_is_unknown_and_not_absent(tmp_path):
    write_table(tmp_path, [("a.png", "p", "", "", "", "")])
    (row,) = folder.read_rows(tmp_path, FolderConfig())
    assert PLAIN.describe(row.attributes) == "Chest X-ray of a patient"


@pytest.mark.parametrize(
    ("cell", "config", "found"),
    [
        ("Edema; Mass", {}, {"Edema": True, "Mass": True}),
        (
            "Mass|Edema",
            {"separator": "|", "findings": ("Edema", "Mass", "Nodule")},
            {"Edema": True, "Mass": True},
        ),
        ("edema", {"findings": ("Edema", "Mass"), "unlisted_absent": True}, {"Edema": True, "Mass": False}),
        ("No Finding", {}, {"finding": False}),
        ("No Finding", {"findings": ("Edema", "Mass")}, {"Edema": False, "Mass": False}),
        ("", {"findings": ("Edema",), "unlisted_absent": True}, {}),
    ],
)
def test_the_list_column_is_read_as_configured(tmp_path, cell, config, found):
    read = findings_of(tmp_path, cell, **config)
    assert read == found
    assert list(read) == list(found)


def test_several_columns_of_one_finding_each_are_read_as_those_of_chexpert(tmp_path):
    columns = ("Edema", "Fracture", "Mass", "Nodule", "No Finding")
    write_table(tmp_path, [("a.png", "p", "", "", "", "", "1.0", "0.0", "-1.0", "", "")], (*HEADER, *columns))
    (row,) = folder.read_rows(tmp_path, FolderConfig(flags=columns))
    assert row.attributes.findings == {"edema": True, "fracture": False, "mass": None}
    write_table(tmp_path, [("a.png", "p", "", "", "", "", "", "", "", "", "1.0")], (*HEADER, *columns))
    (row,) = folder.read_rows(tmp_path, FolderConfig(flags=columns))
    assert row.attributes.findings == {"finding": False}


def test_json_lines_build_from_nested_folders_with_study_text_spacing_and_masks(tmp_path):
    write_image(tmp_path / "s/x/y/a.png")
    write_image(tmp_path / "s/m/a.png", level=255)
    record = {"id": "a", "patient": 7, "findings": ["Edema", "Mass"], "note": "As\nbefore.", "mm": 0.2, "visit": "v"}
    (tmp_path / "s/table.jsonl").write_text(f"{json.dumps(record)}\n{json.dumps({'id': 'b', 'patient': 8})}\n")
    columns = {f"{name}_column": None for name in ("sex", "age", "view")} | {"study_column": "visit"}
    options = {"text_column": "note", "spacing_columns": ("mm",), "masks": ("lungs=m/{id}.png",), "max_bad": 0.5}
    made = build(
        "folder", tmp_path / "s", tmp_path / "out", csv="table.jsonl", path="x/y/{id}.png", **columns, **options
    )
    (split,) = made.counts
    (example,) = pipeline.open_split(tmp_path / "out", split)
    assert (example.patient, example.study, example.text, example.spacing) == ("7", "v", "As before.", (0.2, 0.2))
    assert (example.attributes.findings, list(example.masks)) == ({"Edema": True, "Mass": True}, ["lungs"])


def test_an_image_has_masks_only_where_the_mask_column_says_so(tmp_path):
    write_table(
        tmp_path, [(f"{i}.png", i, "", "", "", "", cell) for i, cell in enumerate(("Y", "N", ""))], (*HEADER, "m")
    )
    rows = folder.read_rows(tmp_path, FolderConfig(masks=("lungs=m/{path}",), mask_column="m"))
    assert [row.masks for row in rows] == [{"lungs": "m/0.png"}, {}, {}]


@pytest.mark.parametrize(("cell", "state"), [("Y", True), ("no", False), ("1.0", True), ("0", False), ("", None)])
def test_a_yes_no_column_becomes_a_finding(tmp_path, cell, state):
    write_table(tmp_path, [("a.png", "p", "", "", "", "", cell)], (*HEADER, "in_tube"))
    for flag, name in (("in_tube", "in tube"), ("in_tube=endotracheal tube", "endotracheal tube")):
        (row,) = folder.read_rows(tmp_path, FolderConfig(flags=(flag,)))
        assert row.attributes.findings.get(name) is state


@pytest.mark.parametrize(
    ("cells", "config", "message"),
    [
        (
            {"findings": "Edema;Blob"},
            {"findings": ("Edema", "Mass")},
            "row 2 .*unknown finding 'Blob'; use Edema, Mass",
        ),
        ({"findings": "No Finding;Mass"}, {}, "'No Finding' stands beside Mass"),
        ({"sex": "x"}, {}, "row 2 .*sex 'x' is none of m, male, f, female, blank"),
        ({"age": "old"}, {}, "row 2 .*age must be a number of years, got 'old'"),
        ({"age": "-3"}, {}, "row 2 .*age must be .*got -3"),
        ({"patient": ""}, {}, "row 2 .*patient '' does not match"),
        ({"view": "maybe"}, {"flags": ("view",)}, "row 2 .*view 'maybe' is not yes or no"),
        (
            {},
            {"age_column": "years"},
            r"no column 'years' \(needed by age_column\); it has path, patient, .*, or None",
        ),
        ({}, {"patient_column": "subject"}, r"no column 'subject' \(needed by patient_column\)"),
        ({}, {"path": "images/{id}.jpg"}, "no column 'id'"),
        ({}, {"flags": ("intubated",)}, "no column 'intubated'"),
        ({}, {"csv": "other.csv"}, "no table .*other.csv; the folder has metadata.csv"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_in_one_line_and_nothing_is_written(tmp_path, cells, config, message):
    source, out = tmp_path / "source", tmp_path / "out"
    row = dict(zip(HEADER, ("a.png", "p", "M", "60", "PA", "Edema"), strict=True)) | cells
    write_table(source, [tuple(row.values())])
    write_image(source / "a.png")
    with pytest.raises(ValueError, match=message) as caught:
        build("folder", source, out, **config)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"fractions": (0.9, 0.2, 0.1)}, "sum to 1"),
        ({"unlisted_absent": True}, "give findings"),
        ({"masks": ("lungs",)}, "are not NAME=PATH"),
        ({"findings": ("Edema",), "uncertain_of": ("Mass=positive",)}, "names 'mass'; the findings are Edema"),
        ({"patient_pattern": "("}, "is not a regex"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path, config, message):
    with pytest.raises(ValueError, match=message):
        build("folder", tmp_path, tmp_path / "out", **config)


def test_a_build_without_one_good_image_is_an_error_and_leaves_nothing(tmp_path):
    write_table(tmp_path / "source", [("a.png", "p", "", "", "", ""), ("../b.png", "q", "", "", "", "")])
    write_image(tmp_path / "b.png")
    with pytest.raises(ValueError, match="none of the 2 images can be used; the first, "):
        build("folder", tmp_path / "source", tmp_path / "out", max_bad=1.0)
    assert not (tmp_path / "out").exists()


def test_a_path_that_leaves_the_source_folder_is_skipped(tmp_path):
    write_image(tmp_path / "b.png")
    write_table(tmp_path / "source", [("../b.png", "q", "", "", "", "")])
    (row,) = folder.read_rows(tmp_path / "source", FolderConfig())
    with pytest.raises(ValueError, match="outside the source folder"):
        ingest.read_example(tmp_path / "source", row, IngestConfig())


def test_a_folder_that_holds_something_is_never_overwritten(built):
    with pytest.raises(ValueError, match="already exists; choose another folder or remove it"):
        build("folder", built[0], built[1])


def test_an_unknown_builder_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="no builder 'flickr'; there are chexpert, mimic_cxr, nih, folder, phantom"):
        builder.build("flickr", tmp_path, tmp_path / "out")
