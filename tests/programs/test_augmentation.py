"""Studies of added training images: what is built, how arms are compared, and what is refused beforehand."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from prism_jax import config as configs
from prism_jax import pretrained, report
from prism_jax.data import transforms
from prism_jax.data.loading import pipeline
from prism_jax.data.schema import Attributes
from prism_jax.evaluation.augmentation import datasets as augmentation_datasets
from prism_jax.evaluation.augmentation import estimates as augmentation_estimates
from prism_jax.evaluation.augmentation import report as augmentation_report
from prism_jax.evaluation.augmentation import run as augmentation
from prism_jax.evaluation.augmentation import trainings as augmentation_trainings
from prism_jax.evaluation.augmentation.datasets import Entry
from prism_jax.evaluation.augmentation.estimates import PATIENTS, SEEDS
from prism_jax.evaluation.augmentation.report import Study
from prism_jax.evaluation.augmentation.run import AugmentationRun
from prism_jax.evaluation.augmentation.test_sets import StudyTestImages, StudyTestSet, group_counts, numbers
from prism_jax.evaluation.augmentation.trainings import ARMS
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun, Inversion
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.sampling import Samples
from prism_jax.metrics import classification
from prism_jax.stats import intervals
from prism_jax.stats.intervals import BootstrapConfig
from tests.build_dataset import build

NAMES = ("cardiomegaly", "pacemaker")
FEW = BootstrapConfig(resamples=50)
CLASSIFIER = """
import dataclasses
from prism_jax.models.convnext import ConvNeXtConfig
from prism_jax.training.classifier.run import ClassifierRun, ClassifierValidation
from prism_jax.training.examples import Data, ExtraDataset
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig
from tests import tiny_configs

def config():
    return ClassifierRun(
        network=tiny_configs.convnext(), targets=("cardiomegaly",), age=False, size=32, batch_size=8,
        data=Data(folder="none", size=32, extra=(ExtraDataset(folder="none"),)),
        loop=LoopConfig(steps=4, log_every=2, checkpoint_every=2, tensorboard=False),
        optimizer=OptimizerConfig(warmup=0),
        validation=ClassifierValidation(every=2, test_split=None),
    )
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with phantoms of 32 pixels, and a configuration of the classifier."""
    folder = tmp_path_factory.mktemp("study")
    build("phantom", None, folder / "set", preset="balanced", size=32, train=64, val=16, test=64)
    (folder / "classifier.py").write_text(CLASSIFIER)
    return folder


@pytest.fixture
def config(data, tmp_path) -> AugmentationRun:
    return AugmentationRun(
        run=str(tmp_path / "run"),
        cohort=CounterfactualRun(
            model=str(data / "model"),
            data=str(data / "set"),
            split="train",
            edits=(EditSpec(edit="remove pacemaker", blend=None), EditSpec(edit="add cardiomegaly", blend=None)),
            subjects_per_edit=6,
            inversion=Inversion(method="negative_prompt", steps=2),
        ),
        samples=Samples(steps=2),
        classifier=str(data / "classifier.py"),
        tests=(StudyTestSet(name="without the link", folder=str(data / "set"), gain_at_least=0.05),),
        seeds=(0, 1),
        bootstrap=FEW,
    )


def held_out(draw: np.random.Generator, count: int = 400) -> StudyTestImages:
    labels = draw.integers(2, size=(count, 2)).astype(np.float64)
    return StudyTestImages(
        name="held out",
        images=np.zeros((count, 8, 8), np.uint8),
        labels=labels[:, 0],
        groups=numbers(labels),
        patients=np.arange(count).astype(str),
    )


def probabilities(test_images: StudyTestImages, draw: np.random.Generator, shortcut: float) -> np.ndarray:
    """Of a classifier that goes by the companion in this share of the images, and is right in the others."""
    companion = test_images.groups % 2
    return np.where(draw.random(len(test_images.labels)) < shortcut, companion, test_images.labels) * 0.8 + 0.1


def test_groups_are_counted_by_both_findings_and_unknown_ones_left_out():
    labels = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [1, 1], [np.nan, 1], [1, np.nan]])
    np.testing.assert_array_equal(group_counts(labels), [1, 1, 1, 2])


def test_an_arm_against_itself_differs_by_nothing():
    draw = np.random.default_rng(0)
    test_images = held_out(draw)
    seeds = [probabilities(test_images, draw, 0.5) for _ in range(3)]
    for measure in augmentation_estimates.MEASURES.values():
        over = augmentation_estimates.estimate(measure, test_images, seeds, seeds, over=PATIENTS, config=FEW)
        assert (over.value, over.low, over.high, over.count) == (0, 0, 0, 400)
        assert augmentation_estimates.estimate(measure, test_images, seeds, seeds, over=SEEDS, config=FEW).high == 0


def test_a_shortcut_costs_the_groups_where_it_misleads():
    draw = np.random.default_rng(0)
    test_images = held_out(draw, 2000)
    seeds = [probabilities(test_images, draw, 0.4) for _ in range(3)]
    found = augmentation_estimates.by_group(test_images, seeds, config=FEW)
    np.testing.assert_allclose([e.value for e in found], [1, 0.6, 0.6, 1], atol=0.05)
    worst = augmentation_estimates.MEASURES[augmentation_estimates.WORST]
    whole = augmentation_estimates.estimate(worst, test_images, seeds, over=PATIENTS, config=FEW)
    assert whole.value <= min(e.value for e in found) + 1e-9
    assert whole.low < whole.value < whole.high
    fair = [probabilities(test_images, draw, 0.0)] * 3
    gain = augmentation_estimates.estimate(worst, test_images, fair, seeds, over=PATIENTS, config=FEW)
    np.testing.assert_allclose(gain.value, 1 - whole.value)


def test_the_interval_over_seeds_is_that_of_a_paired_t_test():
    draw = np.random.default_rng(1)
    test_images = held_out(draw)
    one, two = ([probabilities(test_images, draw, share) for _ in range(4)] for share in (0.2, 0.3))
    area = augmentation_estimates.MEASURES["auroc"]
    found = augmentation_estimates.estimate(
        area, test_images, one, two, over=SEEDS, config=dataclasses.replace(FEW, level=0.9)
    )
    values = [[classification.auroc(column, test_images.labels) for column in arm] for arm in (one, two)]
    expected = stats.ttest_rel(*values).confidence_interval(0.9)
    np.testing.assert_allclose((found.low, found.high), (expected.low, expected.high))
    assert np.isnan(intervals.student_t_mean(np.array([0.5]), level=0.9).low)


def test_a_patient_of_whom_a_finding_is_not_known_is_not_counted():
    draw = np.random.default_rng(0)
    test_images = held_out(draw)
    groups = np.where(np.arange(400) < 100, np.nan, test_images.groups)
    some = dataclasses.replace(test_images, groups=groups)
    found = augmentation_estimates.estimate(
        augmentation_estimates.MEASURES["accuracy"], some, [probabilities(some, draw, 0.1)], over=PATIENTS, config=FEW
    )
    assert found.count == 300


def test_added_pictures_come_back_with_what_they_are_labelled_with(tmp_path):
    draw = np.random.default_rng(0)
    images = draw.integers(256, size=(3, 8, 8), dtype=np.uint8)
    known = [
        Attributes(age=61.5, sex="F", view="AP", findings={"cardiomegaly": True, "support_lines": False}),
        Attributes(findings={"cardiomegaly": None}),
        Attributes(view="AP Supine", race="White", findings={}),
    ]
    entries = []
    for i, (image, attributes) in enumerate(zip(images, known, strict=True)):
        entries.append(Entry(path=f"{i}.png", patient=f"p {i}", attributes=attributes))
        (tmp_path / f"{i}.png").write_bytes(transforms.encode_png(image))
    augmentation_datasets.build_set(entries, tmp_path, tmp_path / "built")
    source = pipeline.open_split(tmp_path / "built", "train")
    for example, image, attributes, entry in zip(source, images, known, entries, strict=True):
        np.testing.assert_array_equal(transforms.decode(example.image), image)
        assert (example.attributes, example.patient) == (attributes, entry.patient)


def test_all_arms_see_batches_of_one_size_and_differ_in_what_is_mixed_in(config):
    wanted = augmentation.trainings(config, count=16)
    assert [(one.arm, one.seed) for one in wanted] == [(arm, seed) for seed in (0, 1) for arm in ARMS]
    settings = [one.settings for one in wanted]
    assert {one.data.extra[0].weight for one in settings} == {16 / 64}
    assert [one.data.extra[0].folder for one in settings[:2]] == [config.cohort.data, f"{config.run}/data/samples"]
    assert [one.seed for one in settings] == [0] * 4 + [1] * 4
    assert {one.data.folder for one in settings} == {config.cohort.data}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(seeds=(1, 1)), "name each once"),
        (dict(tests=()), "at least one"),
        (dict(target="edema"), "has no labels of edema"),
        (dict(target="effusion"), "targets cardiomegaly lack effusion"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(config, change, message):
    with pytest.raises(ValueError, match=message):
        augmentation.main(dataclasses.replace(config, **change))
    assert not Path(config.run).exists()


def test_held_out_images_of_training_patients_are_refused(config):
    leaky = StudyTestSet(name="leaky", folder=config.cohort.data, split="train")
    with pytest.raises(ValueError, match="64 patients are in training too"):
        augmentation.check(dataclasses.replace(config, tests=(leaky,)))


def test_more_counterfactuals_than_captions_are_refused(config):
    many = tuple(EditSpec(edit=edit) for edit in ("set age 30", "set sex F, set view AP", "set age 80"))
    cohort = dataclasses.replace(config.cohort, edits=many, subjects_per_edit=None)
    with pytest.raises(ValueError, match=r"64 captions to sample; lower cohort\.subjects_per_edit"):
        augmentation.check(dataclasses.replace(config, cohort=cohort))


def test_a_folder_of_another_study_or_another_training_is_refused(config):
    augmentation.check(config)
    configs.write(config, config.run)
    augmentation.check(dataclasses.replace(config, seeds=(5,)))  # more seeds may be added
    with pytest.raises(ValueError, match="holds a study with another samples"):
        augmentation.check(dataclasses.replace(config, samples=Samples(steps=3)))
    first = augmentation.trainings(config, count=12)[0]
    configs.write(dataclasses.replace(first.settings, batch_size=16), first.folder)
    with pytest.raises(ValueError, match="holds a training with other settings"):
        augmentation.check(config)


def test_a_judge_is_asked_about_every_picture_and_every_finding(config, data):
    judge = pretrained.folder("phantom_judges/convnext")
    with pytest.raises(ValueError, match="does not know 'edema'"):
        augmentation_report.load_judge(str(judge), ("edema",))
    table = augmentation_report.label_agreement({"real": data / "set"}, str(judge), NAMES, batch_size=64)
    assert [cell.count for cell in table.rows[0][1:]] == [64, 64]


def test_a_training_that_leaves_no_classifier_is_an_error(config, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))  # a program that ends with 1
    with pytest.raises(RuntimeError, match="ended with 1 and without a classifier"):
        augmentation_trainings.train(augmentation.trainings(config, count=12)[0], "1 of 1")


def test_the_page_tells_the_gain_and_holds_it_against_its_target(config, tmp_path):
    draw = np.random.default_rng(0)
    test_images = held_out(draw)
    shares = dict(zip(ARMS, (0.6, 0.6, 0.2, 0.1), strict=True))
    seen = {
        (arm, seed): {test_images.name: probabilities(test_images, draw, share)}
        for arm, share in shares.items()
        for seed in (0, 1)
    }
    configs.write(config, tmp_path)
    study = Study(
        title="A study",
        run=tmp_path,
        target="cardiomegaly",
        companion="pacemaker",
        seeds=(0, 1),
        tests=config.tests,
        test_images=(test_images,),
        predictions=seen,
        counts=dict.fromkeys(ARMS, np.array([3, 1, 1, 3])),
        bootstrap=FEW,
    )
    arms, groups = (
        augmentation_report.arms_table(study, test_images),
        augmentation_report.groups_table(study, test_images),
    )
    differences = augmentation_report.differences_table(study, config.tests[0], test_images)
    assert [row[0] for row in arms.rows] == list(ARMS.values())
    gain = differences.rows[0][3]
    assert isinstance(gain, report.Check)
    assert gain.is_met
    assert gain.estimate.low > 0.05
    np.testing.assert_allclose(gain.estimate.value, arms.rows[2][3].value - arms.rows[1][3].value)
    assert len(groups.columns) == 5
    [(number, words)] = augmentation_report.headline(study)
    assert number == f"{100 * gain.estimate.value:+.1f}"
    assert "over patients" in words
    assert len(augmentation_report.seeds_table(study).rows) == 2 * (len(ARMS) + 1)


@pytest.mark.nightly
def test_a_study_leaves_its_page_and_does_nothing_twice(config, data, tiny_sd, monkeypatch):
    tiny_sd.save_pretrained(data / "model")
    augmentation.main(config)
    run = Path(config.run)
    first = json.loads((run / "metrics.json").read_text())
    assert "added: samples" in (run / "report.html").read_text()
    assert len(pipeline.open_split(run / "data" / "samples", "train")) == 12
    for name in ("made", "sampled", "edited", "true"):
        monkeypatch.delattr(augmentation_datasets, name, raising=False)
    monkeypatch.setattr(augmentation_trainings.subprocess, "run", None)
    augmentation.main(config)
    assert json.loads((run / "metrics.json").read_text()) == first
