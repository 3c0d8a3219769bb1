"""The data report: what is planted in a data set is detected, shown on the page and kept in report.json."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prism_jax import json_codec, report
from prism_jax.cli import main as cli_main
from prism_jax.data import transforms
from prism_jax.data.schema import Attributes
from prism_jax.data_report import images as data_report_images
from prism_jax.data_report import report as data_report_report
from prism_jax.data_report import scan, survey
from prism_jax.data_report.survey import Survey, SurveyConfig
from tests.build_dataset import build
from tests.unit.test_burned_in_text import chest, written
from tests.unit.test_pipeline import make
from tests.unit.test_report import Page

PATIENTS = 80


def source(folder: Path) -> Path:
    """Two X-rays of each patient; AP goes with tubes, 5 bear a letter, one is a copy of another patient's."""
    folder.mkdir()
    with open(folder / "metadata.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "patient", "sex", "age", "view", "findings", "tube"))
        for i in range(2 * PATIENTS):
            patient = i // 2
            is_ap = patient % 2 == 0
            tube = "y" if (is_ap if patient % 5 else not is_ap) else "n"
            age = "" if patient % 8 == 0 else 30 + patient % 50
            table.writerow(
                (f"{i}.png", f"p{patient}", "MF"[patient % 3 == 0], age, "AP" if is_ap else "PA", "Mass", tube)
            )
            pixels = chest(i if i != 9 else 60, 128)
            Image.fromarray(written(pixels, "R", (8, 8)) if i < 5 else pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("survey")
    options = {"flags": ("tube=endotracheal tube",), "fractions": (0.5, 0.25, 0.25)}
    return build("folder", source(folder / "source"), folder / "set", **options).folder


@pytest.fixture(scope="module")
def surveyed(built) -> tuple[Survey, list]:
    return survey.survey(built)


def test_every_image_is_counted_once_in_its_split(surveyed):
    made, images = surveyed
    *splits, whole = made.splits
    assert (whole.split, whole.images, whole.patients) == ("all", 2 * PATIENTS, PATIENTS)
    assert sum(one.images for one in splits) == 2 * PATIENTS
    assert sum(one.patients for one in splits) == PATIENTS
    assert made.shared_patients == 0
    assert whole.height == (128, 128, 128)
    assert sorted(one.id for one in images) == list(range(2 * PATIENTS))
    for one in made.distributions:
        assert sum(sum(counts.values()) for counts in one.counts.values()) == 2 * PATIENTS


def test_what_is_missing_is_counted(surveyed):
    known = {one.name: one for one in surveyed[0].completeness}
    assert (known["age"].images, known["age"].of) == (140, 160)
    assert (known["sex"].images, known["race"].images, known["Mass"].images) == (160, 0, 160)
    assert known["age"].by_view == {"AP": (60, 80), "PA": (80, 80)}


def test_the_planted_association_is_detected_with_its_interval(surveyed):
    found = surveyed[0].between("view AP", "Endotracheal_Tube")
    assert found.cells == (64, 16, 16, 64)
    assert found.odds_ratio.value == pytest.approx(16)
    assert found.correlation.value == pytest.approx(0.6)
    assert 0.3 < found.correlation.low < 0.6 < found.correlation.high < 0.8
    assert found.correlation.count == PATIENTS
    assert found.is_significant
    assert found.is_significant_adjusted
    with pytest.raises(ValueError, match=r"no association of 'view AP' with 'halo'.* it has Mass, age, burned-in text"):
        surveyed[0].between("view AP", "halo")


def test_a_finding_that_is_never_absent_is_counted_but_not_compared(surveyed):
    made, _ = surveyed
    counted = {one.name: one for one in made.findings}
    assert (counted["Mass"].present, counted["Mass"].absent) == (160, 0)
    tube = counted["endotracheal tube"]
    assert (tube.present, tube.absent, tube.prevalence.value, tube.prevalence.count) == (80, 80, 0.5, PATIENTS)
    assert "Mass: 80 patients with it, 0 without" in made.between("mass", "view AP").reason


def test_findings_have_the_names_of_captions():
    (example,) = make(1)
    example = dataclasses.replace(example, attributes=Attributes(findings={"support_lines": True}))
    assert scan._read([example], "train", 0).attributes.findings == {"support lines": True}


def test_the_copy_and_the_letters_are_detected(surveyed):
    made, _ = surveyed
    assert [sorted(pair.ids) for pair in made.duplicates] == [[9, 60]]
    assert not made.duplicates[0].is_one_patient
    assert made.duplicates[0].similarity > 0.99
    assert not made.has_more_duplicates
    assert sorted(one.id for one in made.burned_in_text) == [0, 1, 2, 3, 4]


def test_a_report_read_back_is_the_same_and_has_no_nan(surveyed, tmp_path):
    made, _ = surveyed
    survey.write(made, tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    back = survey.read(tmp_path)
    assert json_codec.encode(back) == json_codec.encode(made)
    assert back.between("endotracheal tube", "view AP") == made.between("endotracheal tube", "view AP")
    assert back.config == SurveyConfig()


def test_a_report_with_the_keys_of_older_versions_is_read(surveyed, tmp_path):
    survey.write(surveyed[0], tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text()
    renamed = {"completeness": "known", "burned_in_text": "marked", "text_boxes": "marks", "min_patients": "fewest"}
    renamed |= {"max_images": "shown", "is_significant": "is_linked", "is_significant_adjusted": "is_linked_adjusted"}
    for new, old in renamed.items():
        assert f'"{new}":' in text
        text = text.replace(f'"{new}":', f'"{old}":')
    (tmp_path / "report.json").write_text(text)
    assert json_codec.encode(survey.read(tmp_path)) == json_codec.encode(surveyed[0])


def test_the_same_data_gives_the_same_report_with_any_number_of_threads(built, surveyed):
    again, _ = survey.survey(built, SurveyConfig(threads=5))
    one, other = (json_codec.encode(dataclasses.replace(made, config=SurveyConfig())) for made in (surveyed[0], again))
    assert one == other


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("format"), "'format'"),
        (lambda content: content.update(format="other"), "it is not of the format 'prism data report 1'"),
        (lambda content: content.pop("burned_in_text"), "Survey has the fields"),
        (lambda content: content["splits"][0].update(images="many"), "'many' is not of type int at splits[0].images"),
    ],
)
def test_a_file_that_is_no_report_is_refused_in_one_line(surveyed, tmp_path, change, message):
    survey.write(surveyed[0], tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    change(content)
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"report.json is not a data report of this version") as caught:
        survey.read(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"no data report .*; make one with: prism data report"):
        survey.read(tmp_path / "none.json")


def test_the_page_shows_associations_counts_and_images(built, surveyed):
    made, images = surveyed
    shown = data_report_images.samples(built, made, images)
    found = Page(report.render(data_report_report.report_of(made, shown)))
    for words in (
        "Data report: set",
        "160 images of 80 patients",
        "endotracheal tube and view AP",
        "different patients, similarity 1.00",
        "64 / 16 / 16 / 64",
        "those of Mass",
        "Near duplicates",
        "Suspected burned-in text",
        "under the terms of the data",
    ):
        assert words in found.text, words
    assert "Counterfactuals generated by a model" not in found.text
    assert sum(sample.group == data_report_images.DRAWN for sample in shown) == 24
    assert sum(sample.group == data_report_images.TEXT for sample in shown) == 5


def test_the_images_shown_are_drawn_over_sources_findings_and_patients(surveyed):
    _, images = surveyed
    few = sorted({image.patient for image in images})[:3]
    sources = [dataclasses.replace(image, source="few" if image.patient in few else "many") for image in images]
    drawn = data_report_images.drawn(sources, 40)
    assert len({image.patient for image in drawn}) == 40  # nobody comes twice while there are others
    assert set(few) <= {image.patient for image in drawn[: 2 * len(few)]}
    assert [image.id for image in data_report_images.drawn(sources, 40)] == [image.id for image in drawn]
    assert len({image.id for image in data_report_images.drawn(images, 1000)}) == len(images)


def test_the_headline_says_how_many_pairs_were_compared(surveyed):
    made, _ = surveyed
    left = sum(bool(pair.reason) for pair in made.associations)
    assert left
    page = data_report_report.report_of(made, ())
    assert any(f"{left} pairs not compared" in says for _, says in page.headline)
    assert any(f"{left} of {len(made.associations)} pairs were not compared" in says for says in page.look_first)
    none = dataclasses.replace(made, associations=tuple(pair for pair in made.associations if pair.reason))
    assert "0 of" in report.render(data_report_report.report_of(none, ()))
    assert not any("significantly" in says for says in data_report_report.report_of(none, ()).look_first)


@pytest.mark.parametrize(("height", "width"), [(256, 200), (200, 256)])
def test_boxes_on_the_page_lie_around_the_letters(height, width):
    pixels = written(chest(0, 256)[:height, :width].copy(), "R", (12, 12))
    example = dataclasses.make_dataclass("Example", ["id", "image"])(7, transforms.encode_png(pixels))
    image = data_report_images._with_text_boxes(example).image
    rows, columns = np.nonzero(image != data_report_images._padded(pixels, data_report_images.TEXT_SIDE))
    for places, side in ((rows, height), (columns, width)):  # the picture lies centred on a square
        start = data_report_images.TEXT_SIDE * (256 - side) / 2 / 256
        assert start < places.min() < start + 25
        assert places.max() < start + 60


def run(args: list[str], capsys: pytest.CaptureFixture) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli_main.main(["data", "report", *args])
    return stop.value.code, *capsys.readouterr()


def test_the_command_writes_a_page_and_json_and_shows_progress(built, tmp_path, capsys):
    options = ["--out", str(tmp_path / "r"), "--max-images", "2", "--uncertain", "present"]
    code, out, err = run([str(built), *options], capsys)
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["report.html", "report.json"]
    assert "160 images" in out
    assert "160/160" in err
    assert survey.read(tmp_path / "r").config == SurveyConfig(max_images=2, uncertain="present")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "is not a built data set"),
        (["--similarity", "2"], "similarity must be above 0"),
        (["--threads", "0"], "must be 1 or more"),
    ],
)
def test_what_is_no_data_set_and_wrong_options_are_one_line(tmp_path, capsys, options, said):
    code, _, err = run([str(tmp_path), "--out", str(tmp_path / "r"), *options], capsys)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_a_broken_description_of_a_data_set_is_one_line(tmp_path):
    (tmp_path / scan.INFO_FILE).write_text("{}")
    with pytest.raises(ValueError, match=r"dataset_info.json cannot be read .*; build the data set again"):
        scan.splits(tmp_path)


def test_images_without_a_patient_count_for_themselves():
    seen = dataclasses.make_dataclass("Seen", ["patient"])
    assert len(set(scan.patients([seen("a"), seen(""), seen("a"), seen("")]).tolist())) == 3
