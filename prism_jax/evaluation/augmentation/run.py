"""Do counterfactuals make better classifiers? `python -m eval.augmentation --config configs/NAME.py [--option value]`.

Trains a classifier of one finding on data in which another comes along: on the real images alone, on the same with
plain samples of a model, with counterfactuals by it, and on phantoms with the true counterfactuals, equally many each;
with several seeds. Writes `report.html`, `metrics.json` and `metrics.csv` of held-out accuracy, AUROC and worst-group
accuracy into the run folder. A stopped study goes on where it was: no stage that is done is done again.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np

from prism_jax import StableDiffusion, report
from prism_jax import config as configs
from prism_jax.data import targets, transforms
from prism_jax.data.loading import pipeline
from prism_jax.evaluation import edited_cohort as cohorts
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation.augmentation import datasets as augmentation_datasets
from prism_jax.evaluation.augmentation import label_agreement as augmentation_label_agreement
from prism_jax.evaluation.augmentation import report as augmentation_report
from prism_jax.evaluation.augmentation import test_sets as augmentation_test_sets
from prism_jax.evaluation.augmentation import trainings as augmentation_trainings
from prism_jax.evaluation.augmentation.report import Study
from prism_jax.evaluation.augmentation.test_sets import HeldOut, HeldOutSet, is_built
from prism_jax.evaluation.augmentation.trainings import ARMS, COUNTERFACTUALS, REAL, SAMPLES, TRUTH, Training
from prism_jax.evaluation.counterfactuals import run as counterfactuals_run
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun
from prism_jax.evaluation.edited_cohort import Cases
from prism_jax.evaluation.sampling import Samples
from prism_jax.evaluation.subjects import choose, images_of
from prism_jax.report import numbers
from prism_jax.stats.intervals import BootstrapConfig

DECISIVE = ("cohort", "samples", "target", "companion", "tests")  # what results of one folder share


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationRun:
    """Everything a study depends on."""

    run: str = "runs/augmentation"
    title: str = "Classifiers with and without counterfactuals"
    cohort: CounterfactualRun = CounterfactualRun(split="train")
    """The counterfactuals, of training images; its run is filled in."""
    samples: Samples = Samples()
    classifier: str = "configs/phantom/classifier_augmentation.py"
    """Configuration of train.classifier; run, seed, data.folder and data.extra are filled in."""
    target: str = "cardiomegaly"
    """The finding that is learned."""
    companion: str = "pacemaker"
    """The finding that comes along with it in training."""
    tests: tuple[HeldOutSet, ...] = ()
    judge: str | None = None
    """Folder of a classifier with no part in the study, which says how many pictures show what they are labelled with;
    None: none is asked."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the trainings, the same for all arms."""
    bootstrap: BootstrapConfig = BootstrapConfig(resamples=1000)
    batch_size: int = 64
    """Held-out images that a classifier sees at once."""
    shown: int = 2
    """Subjects of each change in the report."""


def main(config: AugmentationRun) -> None:
    """Runs the study in the folder `config.run`."""
    check(config)
    configs.write(config, config.run)
    cases = made_cohort(config)
    make_sets(config, cases)
    wanted = trainings(config, len(cases))
    for i, training in enumerate(wanted):
        augmentation_trainings.train(training, f"{i + 1} of {len(wanted)}")
    study = looked_at(config, wanted)
    run = Path(config.run)
    document = augmentation_report.document_of(study, cases, true_pictures(config), config.shown)
    document = dataclasses.replace(document, tables=(*document.tables, *judged(config)))
    report.write(document, run / "report.html")
    numbers.write(document.tables, run / "metrics.json")
    print(f"{run / 'report.html'}: {'; '.join(' '.join(line) for line in document.headline)}", file=sys.stderr)


def check(config: AugmentationRun) -> None:
    """Raises ValueError for settings and data that do not fit each other, before anything slow."""
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
        augmentation_label_agreement.load(config.judge, (config.target, config.companion))
    configs.check_same(config, config.run, DECISIVE, holds="a study")
    train = pipeline.open_split(config.cohort.data, "train")
    known = targets.values([example.attributes for example in train], (config.target, config.companion))
    if np.isnan(known).all(0).any():
        raise ValueError(f"{config.cohort.data} knows nothing of {config.target} or of {config.companion}; name others")
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


def made_cohort(config: AugmentationRun) -> Cases:
    """The counterfactuals, made where they are not there yet."""
    folder = Path(config.run) / "cohort"
    if not (folder / "metrics.json").is_file():  # the last that a cohort writes
        counterfactuals_run.main(dataclasses.replace(config.cohort, run=str(folder)))
    return cohorts.read(folder)


def sets(config: AugmentationRun) -> dict[str, Path]:
    """Arm -> data set of the pictures that it adds."""
    is_phantom = ground_truth.phantom_config(config.cohort.data) is not None
    arms = (SAMPLES, COUNTERFACTUALS, *((TRUTH,) if is_phantom else ()))
    return {arm: Path(config.run) / "data" / arm for arm in arms}


def make_sets(config: AugmentationRun, cases: Cases) -> None:
    """Builds the added pictures of every arm that are not built yet."""
    run, phantom = Path(config.run), ground_truth.phantom_config(config.cohort.data)
    make = {
        SAMPLES: lambda folder: plain_samples(config, len(cases), folder),
        COUNTERFACTUALS: lambda folder: augmentation_datasets.edited(cases, folder),
        TRUTH: lambda folder: augmentation_datasets.true(cases, phantom, folder),
    }
    for arm, out in sets(config).items():
        if not is_built(out):
            folder = run / "added" / arm
            augmentation_datasets.build_set(make[arm](folder), folder, out)


def plain_samples(config: AugmentationRun, count: int, folder: Path) -> list[augmentation_datasets.Entry]:
    """What one does without counterfactuals: samples of the same model under training captions."""
    sd = StableDiffusion.from_pretrained(config.cohort.model, dtype=config.cohort.dtype)
    train = pipeline.open_split(config.cohort.data, "train")
    return augmentation_datasets.sampled(sd, train, count, config.samples, folder, config.cohort.wording)


def trainings(config: AugmentationRun, count: int) -> list[Training]:
    """All trainings, seed by seed, with `count` added pictures."""
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


def looked_at(config: AugmentationRun, wanted: list[Training]) -> Study:
    """What every classifier sees in every test set."""
    data = wanted[0].settings.data
    names = (config.target, config.companion)
    held: list[HeldOut] = [
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
        held=tuple(held),
        seen={
            (one.arm, one.seed): augmentation_trainings.seen(one, config.target, held, config.batch_size)
            for one in wanted
        },
        counts={arm: augmentation_report.counts_of(folder, *names) for arm, folder in folders.items()},
        bootstrap=config.bootstrap,
    )


def judged(config: AugmentationRun) -> tuple[report.Table, ...]:
    """What the judge says of the real pictures and of those of each arm; nothing without a judge."""
    if config.judge is None:
        return ()
    folders = {REAL: Path(config.cohort.data)} | sets(config)
    findings = (config.target, config.companion)
    return (augmentation_label_agreement.table(folders, config.judge, findings, config.batch_size),)


def true_pictures(config: AugmentationRun) -> list[np.ndarray]:
    """The true counterfactuals uint8 [h, w] in the order of the cohort's cases; none where nobody knows them."""
    folder = sets(config).get(TRUTH)
    return [] if folder is None else [transforms.decode(one.image) for one in pipeline.open_split(folder, "train")]
