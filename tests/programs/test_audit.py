"""The audit program on a cohort with a planted link: what it writes, and what it refuses before slow work."""

import csv
import dataclasses
import json

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from prism_jax import config as configs
from prism_jax.classifier import Classifier
from prism_jax.data import phantom, transforms
from prism_jax.evaluation import edited_cohort as cohorts
from prism_jax.evaluation import judges as evaluation_judges
from prism_jax.evaluation.audit import masks as audit_masks
from prism_jax.evaluation.audit import run as audit
from prism_jax.evaluation.audit.run import AuditRun
from prism_jax.evaluation.counterfactuals.manifest import Manifest
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.judges import Judge
from prism_jax.evaluation.subjects import choose, images_of
from prism_jax.models.convnext import ConvNeXt
from prism_jax.models.densenet import DenseNet
from prism_jax.stats.effects import EffectConfig
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.stats.sign_flip_test import SignFlipConfig
from tests import tiny_configs
from tests.build_dataset import build
from tests.conftest import untrained

TARGETS = ("cardiomegaly", "pacemaker")
REMOVE, REPEAT = "remove cardiomegaly", "repeat the caption"
SIZE = 32

nightly = pytest.mark.nightly


def make_cohort(folder, *, size: int, test: int, subjects_per_edit: int, do: dict[str, int]) -> CounterfactualRun:
    """A finished cohort run whose edit is the phantom's own, under the intervention `do`; repeats are the original."""
    build("phantom", None, folder / "data", preset="strong", size=size, train=1, val=1, test=test)
    edits = (EditSpec(edit=REMOVE), EditSpec(edit=REPEAT))
    config = CounterfactualRun(run=str(folder / "cohort"), data=str(folder / "data"), edits=edits)
    images = images_of(config.data, config.split)
    subjects = choose(images, edits, subjects_per_edit)
    numbers = np.array([subject.number for subject in subjects])
    options = dict(size=size, equations=phantom.Equations.preset("strong"))
    edited = phantom.generate(numbers, do=do, mode="surgical", **options).images
    rows, pictures = [], {}
    for i, subject in enumerate(subjects):
        original = transforms.decode(images.read(subject.index))
        shared = dict(id=subject.id, patient=subject.patient, number=subject.number, source_prompt=subject.prompt)
        shared |= dict(status="done") | dict.fromkeys(("original", "reconstruction"), f"{subject.id}/original")
        pictures |= {f"{subject.id}/original": original, f"{subject.id}/edited": edited[i]}
        rows.append(shared | dict(edit=REMOVE, edited=f"{subject.id}/edited"))
        rows.append(shared | dict(edit=REPEAT, edited=f"{subject.id}/original"))
    manifest = Manifest(folder / "cohort")
    manifest.write(0, rows, pictures)
    manifest.merge(1)
    configs.write(config, folder / "cohort")
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished audit by two untrained judges."""
    folder = tmp_path_factory.mktemp("audit")
    make_cohort(folder, size=SIZE, test=50, subjects_per_edit=12, do={"cardiomegaly": 0, "pacemaker": 0})
    for name, network, tiny in (
        ("one", DenseNet, tiny_configs.densenet()),
        ("other", ConvNeXt, tiny_configs.convnext()),
    ):
        made = Classifier.of(untrained(network, tiny), targets=TARGETS, size=SIZE, age_scale=(60.0, 15.0))
        made.save_pretrained(folder / name)
    config = AuditRun(
        run=str(folder / "audit"),
        cohort=str(folder / "cohort"),
        judges=tuple(Judge(name=name, folder=str(folder / name)) for name in ("one", "other")),
        effects=EffectConfig(bootstrap=BootstrapConfig(resamples=200), sign_flips=SignFlipConfig(num_permutations=500)),
        batch_size=16,
    )
    audit.main(config)
    return folder, config


def test_every_reading_is_kept(run):
    folder, config = run
    rows = pq.read_table(folder / "audit" / "effects.parquet").to_pylist()
    assert len(rows) == 12 * 2 * 2 * 3  # patients, edits, judges, attributes
    cases = cohorts.read(config.cohort)
    for row in rows:
        case = next(c for c in cases.cases if (c.row["id"], c.edit.name) == (row["image"], row["edit"]))
        assert row["label"] == pytest.approx(cohorts.labels([case.attributes], [row["attribute"]]).item())
        assert (row["is_negative_control"], row["strength"], row["sex"]) == (
            row["edit"] == REPEAT,
            "",
            case.attributes.sex,
        )
        if row["attribute"] != "age":
            assert row["probability_edited"] == pytest.approx(1 / (1 + np.exp(-row["logit_edited"])))
        if row["edit"] == REPEAT:
            assert row["logit_edited"] == row["logit_reconstruction"] == row["logit_original"] == row["logit_truth"]


def test_readings_are_those_that_the_judge_gives_to_the_picture_itself(run):
    folder, config = run
    cases = cohorts.read(config.cohort)
    rows = pq.read_table(folder / "audit" / "effects.parquet").to_pylist()
    row = next(r for r in rows if (r["judge"], r["edit"], r["attribute"]) == ("other", REMOVE, "pacemaker"))
    place = next(i for i in cases.of(cases.edits[0]) if cases.images[i] == row["image"])
    picture = next(cases.pixels("edited", [place])).astype(np.float32) / 127.5 - 1
    ask = jax.jit(Classifier.predict)
    found = ask(Classifier.from_pretrained(folder / "other"), np.repeat(picture[None, ..., None], 3, axis=-1))
    assert row["logit_edited"] == pytest.approx(float(found.logits[0, 1]), abs=1e-5)


def test_the_matrix_is_written_for_programs_and_for_spreadsheets(run):
    folder, _ = run
    found = json.loads((folder / "audit" / "matrix.json").read_text())
    assert (found["edits"], found["placebos"]) == ([REMOVE, REPEAT], [REPEAT])
    assert found["columns"] == [*TARGETS, "age"]
    assert found["wanted"] == {REMOVE: {"cardiomegaly": -1.0}, REPEAT: {}}
    assert set(found["effects"]) == {"one", "other", "all judges", "true counterfactuals"}
    with (folder / "audit" / "matrix.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 4 * 3 * 2 * 3  # views, scales, edits, attributes
    cell = found["effects"]["one"]["logit"][1]
    line = next(r for r in rows if (r["judge"], r["scale"], r["attribute"]) == ("one", "logit", "pacemaker"))
    assert float(line["effect"]) == cell["effect"]["value"]
    assert line["patients"] == "12"


def test_a_repeat_of_the_same_picture_has_no_effect_at_all(run):
    folder, _ = run
    found = json.loads((folder / "audit" / "matrix.json").read_text())
    assert not [place for place in found["called"] if place[0] == REPEAT]
    repeats = [cell for cell in found["effects"]["one"]["logit"] if cell["edit"] == REPEAT]
    assert {cell["effect"]["value"] for cell in repeats} == {0.0}


def test_the_change_of_the_planted_device_lies_in_its_mask(run):
    _, config = run
    cases = cohorts.read(config.cohort)
    inside = audit_masks.inside(cases, audit.ground_truth.phantom_config(cases.config.data))
    edits = cases.of(cases.edits[0])
    assert set(inside) == {"cardiomegaly", "effusion", "pacemaker", "support_lines"}
    share, area = inside["pacemaker"].change[edits], inside["pacemaker"].area[edits]
    assert np.mean(share) > 2 * np.mean(area)
    assert np.isnan(inside["pacemaker"].change[cases.of(cases.edits[1])]).all()  # nothing changed


def test_the_page_holds_everything_it_shows(run):
    folder, _ = run
    text = (folder / "audit" / "audit.html").read_text()
    for words in (REMOVE, REPEAT, "Inconclusive", "Errors of the judges", "Edits by status"):
        assert words in text
    assert "http://" not in text
    assert "https://" not in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(judges=()), r"judges \[\]: give two or more"),
        (dict(attributes=("mass",)), "judge one does not know mass; it knows cardiomegaly, pacemaker, age"),
        (dict(cohort="nowhere"), "nowhere is not a cohort run; make one with: prism eval counterfactuals"),
        (dict(batch_size=0), "batch_size must be 1 or more, got 0"),
        (dict(survey="nowhere"), "no data report nowhere"),
        (dict(make=CounterfactualRun(run="elsewhere")), "make.run is elsewhere; name one folder in both"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(run, change, said, tmp_path):
    _, config = run
    with pytest.raises(ValueError, match=said):
        audit.main(dataclasses.replace(config, run=str(tmp_path / "audit"), **change))
    assert not (tmp_path / "audit").exists()


def test_one_judge_or_two_of_a_name_are_refused(run):
    _, config = run
    for judges in (config.judges[:1], (config.judges[0], config.judges[0])):
        with pytest.raises(ValueError, match="give two or more, each with a name of its own"):
            evaluation_judges.load(judges, ())


def test_a_cohort_without_reconstructions_or_unfinished_is_refused(run, tmp_path):
    _, config = run
    before = cohorts.read(config.cohort)
    configs.write(before.config, tmp_path)
    with pytest.raises(ValueError, match=r"is not finished: no manifest\.parquet"):
        cohorts.read(tmp_path)
    failed = dict(id="1", edit=REMOVE, status="failed", error="is corrupt")
    Manifest(tmp_path).write(0, [failed], {})
    Manifest(tmp_path).merge(1)
    with pytest.raises(ValueError, match="has no edit with a reconstruction"):
        cohorts.read(tmp_path)


@nightly
def test_the_judges_that_ship_find_the_planted_link_and_no_other(tmp_path):
    make_cohort(tmp_path, size=128, test=120, subjects_per_edit=40, do={"cardiomegaly": 0, "pacemaker": 0})
    judges = tuple(Judge(name=n, folder=f"prism_jax/pretrained/phantom_judges/{n}") for n in ("densenet", "convnext"))
    config = AuditRun(run=str(tmp_path / "audit"), cohort=str(tmp_path / "cohort"), judges=judges)
    audit.main(config)
    found = json.loads((tmp_path / "audit" / "matrix.json").read_text())
    called = {tuple(place) for place in found["called"]}
    assert {(REMOVE, "cardiomegaly"), (REMOVE, "pacemaker")} <= called
    assert len(called) <= 3  # of 12 cells without a true effect 5 % may be called: one
