"""Counterfactuals as data augmentation: `prism eval augmentation --config NAME [--option value]`.

Trains classifiers of one finding that is confounded with another, with several seeds: on the real images alone, and
with equally many plain samples of a model, counterfactuals by it, or (on phantoms) true counterfactuals added. Writes
`report.html`, `metrics.json` and `metrics.csv` with test accuracy, AUROC and worst-group accuracy into the run folder.
A stopped study resumes: finished stages are not repeated.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np

from prism_jax import config as configs
from prism_jax import report
from prism_jax.data import targets, transforms
from prism_jax.data.loading import pipeline
from prism_jax.evaluation import edited_cohort as cohorts
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation.augmentation import datasets as augmentation_datasets
from prism_jax.evaluation.augmentation import report as augmentation_report
from prism_jax.evaluation.augmentation import test_sets as augmentation_test_sets
from prism_jax.evaluation.augmentation import trainings as augmentation_trainings
from prism_jax.evaluation.augmentation.report import Study
from prism_jax.evaluation.augmentation.test_sets import StudyTestImages, StudyTestSet, is_built
from prism_jax.evaluation.augmentation.trainings import ARMS, COUNTERFACTUALS, REAL, SAMPLES, TRUTH, Training
from prism_jax.evaluation.counterfactuals import run as counterfactuals_run
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun
from prism_jax.evaluation.edited_cohort import Cases
from prism_jax.evaluation.sampling import Samples
from prism_jax.evaluation.subjects import choose, images_of
from prism_jax.stats.intervals import BootstrapConfig

FIXED = ("cohort", "samples", "target", "companion", "tests")  # in one run folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationRun:
    """Options of a study."""

    run: str = "runs/augmentation"
    title: str = "Classifiers with and without counterfactuals"
    cohort: CounterfactualRun = CounterfactualRun(split="train")
    """The counterfactuals, of training images; its run is filled in."""
    samples: Samples = Samples()
    classifier: str = "phantom/classifier_augmentation"
    """Configuration of train.classifier; run, seed, data.folder and data.extra are filled in."""
    target: str = "cardiomegaly"
    """The finding to learn."""
    companion: str = "pacemaker"
    """The finding it is confounded with in training."""
    tests: tuple[StudyTestSet, ...] = ()
    judge: str | None = None
    """Folder of an independent classifier that measures the agreement of images with labels; None: not measured."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the trainings, the same for all arms."""
    bootstrap: BootstrapConfig = BootstrapConfig(resamples=1000)
    batch_size: int = 64
    """Batch size on test images."""
    shown: int = 2
    """Subjects of each edit in the report."""


def main(config: AugmentationRun) -> None:
    """Runs the study in the folder `config.run`."""
    check(config)
    configs.write(config, config.run)
    cases = cohort_of(config)
    build_sets(config, cases)
    planned = trainings(config, len(cases))
    for i, training in enumerate(planned):
        augmentation_trainings.train(training, f"{i + 1} of {len(planned)}")
    study = evaluate(config, planned)
    page = augmentation_report.report_of(study, cases, true_images(config), config.shown)
    if config.judge is not None:
        folders, findings = {REAL: Path(config.cohort.data)} | sets(config), (config.target, config.companion)
        table = augmentation_report.label_agreement(folders, config.judge, findings, config.batch_size)
        page = dataclasses.replace(page, tables=(*page.tables, table))
    print(f"{report.save(page, config.run)}: {'; '.join(' '.join(line) for line in page.headline)}", file=sys.stderr)


def check(config: AugmentationRun) -> None:
    """Raises ValueError for settings and data that do not fit, before anything slow."""
    if len(set(config.seeds)) < len(config.seeds) or not config.seeds:
        raise ValueError(f"seeds are {config.seeds}; name each once, and three or more for an interval over seeds")
    names = [test.name for test in config.tests]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"tests are {names}; name each once, and at least one")
    if config.cohort.split != "train" or config.cohort.processes.count > 1:
        raise ValueError(f"cohort.split is {config.cohort.split!r}; a study edits train, in one process")
    if not config.cohort.edits:
        raise ValueError("cohort.edits is empty; list at least one EditSpec in the configuration")
    if config.judge is not None:
        augmentation_report.load_judge(config.judge, (config.target, config.companion))
    configs.check_same(config, config.run, FIXED, holds="a study")
    train = pipeline.open_split(config.cohort.data, "train")
    labels = targets.values([example.attributes for example in train], (config.target, config.companion))
    if np.isnan(labels).all(0).any():
        raise ValueError(f"{config.cohort.data} has no labels of {config.target} or of {config.companion}; name others")
    subjects = choose(images_of(config.cohort.data, "train"), config.cohort.edits, config.cohort.subjects_per_edit)
    if (count := sum(len(subject.edits) for subject in subjects)) > len(train):
        raise ValueError(
            f"{count} counterfactuals, but {len(train)} captions to sample; lower cohort.subjects_per_edit"
        )
    patients = frozenset(example.patient for example in train)
    for test in config.tests:
        augmentation_test_sets.check(test, config.target, config.companion, patients)
    for training in trainings(config, count):
        augmentation_trainings.check(training, config.target)


def cohort_of(config: AugmentationRun) -> Cases:
    """The counterfactuals, generated if they do not exist."""
    folder = Path(config.run) / "cohort"
    if not (folder / "metrics.json").is_file():  # the last that a cohort writes
        counterfactuals_run.main(dataclasses.replace(config.cohort, run=str(folder)))
    return cohorts.read(folder)


def sets(config: AugmentationRun) -> dict[str, Path]:
    """Data set of added images, by arm."""
    is_phantom = ground_truth.phantom_config(config.cohort.data) is not None
    arms = (SAMPLES, COUNTERFACTUALS, *((TRUTH,) if is_phantom else ()))
    return {arm: Path(config.run) / "data" / arm for arm in arms}


def build_sets(config: AugmentationRun, cases: Cases) -> None:
    """Builds the data sets of added images that do not exist."""
    phantom = ground_truth.phantom_config(config.cohort.data)
    make = {
        SAMPLES: lambda folder: augmentation_datasets.sampled(config.cohort, config.samples, len(cases), folder),
        COUNTERFACTUALS: lambda folder: augmentation_datasets.edited(cases, folder),
        TRUTH: lambda folder: augmentation_datasets.true(cases, phantom, folder),
    }
    for arm, out in sets(config).items():
        if not is_built(out):
            folder = Path(config.run) / "added" / arm
            augmentation_datasets.build_set(make[arm](folder), folder, out)


def trainings(config: AugmentationRun, count: int) -> list[Training]:
    """All trainings, seed by seed, with `count` added images."""
    folder, added = Path(config.run) / "trainings", sets(config)
    weight = count / len(pipeline.open_split(config.cohort.data, "train"))
    return [
        augmentation_trainings.training(
            arm,
            seed,
            folder=folder / f"{arm}-{seed}",
            config=config.classifier,
            data=config.cohort.data,
            added=added.get(arm),
            weight=weight,
        )
        for seed in config.seeds
        for arm in ARMS
        if arm == REAL or arm in added
    ]


def evaluate(config: AugmentationRun, finished: list[Training]) -> Study:
    """Predictions of every classifier for every test set."""
    data = finished[0].settings.data
    names = (config.target, config.companion)
    test_images: list[StudyTestImages] = [
        augmentation_test_sets.read(test, *names, size=data.size, fit=data.fit) for test in config.tests
    ]
    folders = {REAL: Path(config.cohort.data)} | sets(config)
    return Study(
        title=config.title,
        run=Path(config.run),
        target=config.target,
        companion=config.companion,
        seeds=config.seeds,
        tests=config.tests,
        test_images=tuple(test_images),
        predictions={
            (each.arm, each.seed): augmentation_trainings.predictions(
                each, config.target, test_images, config.batch_size
            )
            for each in finished
        },
        counts={arm: augmentation_report.counts_of(folder, *names) for arm, folder in folders.items()},
        bootstrap=config.bootstrap,
    )


def true_images(config: AugmentationRun) -> list[np.ndarray]:
    """The true counterfactuals uint8 [h, w] in the order of the cohort's cases; none for real data."""
    folder = sets(config).get(TRUTH)
    return [] if folder is None else [transforms.decode(each.image) for each in pipeline.open_split(folder, "train")]
