"""The report of a study: tables of estimates, and examples of added images."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from prism_jax import report
from prism_jax.classifier import Classifier
from prism_jax.data import targets, transforms
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.loading import pipeline
from prism_jax.evaluation import subjects
from prism_jax.evaluation.augmentation import estimates as augmentation_estimates
from prism_jax.evaluation.augmentation.estimates import PATIENTS, SEEDS
from prism_jax.evaluation.augmentation.test_sets import StudyTestImages, StudyTestSet, group_counts, group_names
from prism_jax.evaluation.augmentation.trainings import ARMS, COUNTERFACTUALS, REAL, SAMPLES, TRUTH, probability
from prism_jax.evaluation.edited_cohort import Cases
from prism_jax.metrics.classification import CUT
from prism_jax.stats.intervals import BootstrapConfig, Estimate, proportion

CONTRASTS = ((COUNTERFACTUALS, SAMPLES), (COUNTERFACTUALS, REAL), (SAMPLES, REAL), (TRUTH, COUNTERFACTUALS))
COLUMNS = {
    "accuracy": report.Column(name="Accuracy", unit="%"),
    "auroc": "AUROC",
    augmentation_estimates.WORST: report.Column(name="Worst-group accuracy", unit="%"),
}
IMAGES = {
    REAL: "real images",
    SAMPLES: "plain samples",
    COUNTERFACTUALS: "counterfactuals",
    TRUTH: "true counterfactuals",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Test images and predictions of a study."""

    title: str
    run: Path
    target: str
    companion: str
    seeds: tuple[int, ...]
    tests: tuple[StudyTestSet, ...]
    test_images: tuple[StudyTestImages, ...]  # of each test set
    predictions: Mapping[tuple[str, int], Mapping[str, np.ndarray]]  # (arm, seed) -> test set -> probabilities [n]
    counts: Mapping[str, np.ndarray]  # arm -> int [4] images that it adds, by group; of REAL: real images
    bootstrap: BootstrapConfig

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(arm for arm in ARMS if (arm, self.seeds[0]) in self.predictions)

    def of(self, arm: str, test: StudyTestImages, seeds: Sequence[int] = ()) -> list[np.ndarray]:
        """Probabilities [n] of each of these seeds, of all by default."""
        return [self.predictions[arm, seed][test.name] for seed in seeds or self.seeds]

    def estimate(
        self, measure: str, test: StudyTestImages, kind: str, *arms: str, seeds: Sequence[int] = ()
    ) -> Estimate:
        """A measure of one arm, or of the first minus the second, mean over seeds, with an interval of this kind."""
        columns = [self.of(arm, test, seeds) for arm in arms]
        compute = augmentation_estimates.MEASURES[measure]
        return augmentation_estimates.estimate(compute, test, *columns, over=kind, config=self.bootstrap)


def report_of(study: Study, cases: Cases, truth: Sequence[np.ndarray], shown: int) -> report.Report:
    """The study as a report. `truth` are the true counterfactuals of `cases`, none for real data."""
    tables = []
    for test, images in zip(study.tests, study.test_images, strict=True):
        tables += [arms_table(study, images), differences_table(study, test, images), groups_table(study, images)]
    return report.Report(
        title=study.title,
        summary=summary(study),
        headline=headline(study),
        look_first=(
            "Look first at the worst-group accuracy in the tables of differences: do counterfactuals help where plain "
            "samples do not?",
            "The counterfactuals themselves are evaluated in cohort/report.html.",
        ),
        strips=strips(cases, truth, shown),
        samples=samples(study, shown),
        charts=(added_chart(study),),
        tables=(*tables, seeds_table(study)),
    )


def summary(study: Study) -> str:
    """Summary of the trainings, in one sentence."""
    added = int(study.counts[COUNTERFACTUALS].sum())
    return (
        f"Classifiers of {study.target}, trained on {int(study.counts[REAL].sum()):,} images in which it and "
        f"{study.companion} are confounded, with {added:,} added images, the same number in every arm "
        f"but the first; {len(study.seeds)} trainings each (seeds {', '.join(map(str, study.seeds))})."
    )


def headline(study: Study) -> tuple[tuple[str, str], ...]:
    """The gain in worst-group accuracy over plain samples, on each test set."""
    lines = []
    for test_images in study.test_images:
        gain = study.estimate(augmentation_estimates.WORST, test_images, PATIENTS, COUNTERFACTUALS, SAMPLES)
        text = f"points of worst-group accuracy over plain samples, {test_images.name}"
        text += f" ({100 * gain.low:+.1f} to {100 * gain.high:+.1f} over patients)"
        lines.append((f"{100 * gain.value:+.1f}".replace("-", "−"), text))
    return tuple(lines)


def arms_table(study: Study, test_images: StudyTestImages) -> report.Table:
    rows = [
        (ARMS[arm], *(study.estimate(name, test_images, PATIENTS, arm) for name in COLUMNS))
        + (study.estimate(augmentation_estimates.WORST, test_images, SEEDS, arm),)
        for arm in study.arms
    ]
    over = report.Column(name="Worst-group accuracy, interval over seeds", unit="%")
    return report.Table(
        title=f"{test_images.name}: arms",
        columns=("Trained on", *COLUMNS.values(), over),
        rows=tuple(rows),
        note=(
            "Means over seeds. Intervals are 95 %: bootstrap over patients with these classifiers, in the last column "
            "Student's over seeds (n are seeds). The worst group is the one of the four with the lowest accuracy."
        ),
    )


def differences_table(study: Study, test: StudyTestSet, test_images: StudyTestImages) -> report.Table:
    """Differences between arms, paired by seed and patient."""
    rows = []
    for arm, other in CONTRASTS:
        if not {arm, other} <= set(study.arms):
            continue
        for kind in (PATIENTS, SEEDS):
            cells = {name: study.estimate(name, test_images, kind, arm, other) for name in COLUMNS}
            if (arm, other) == (COUNTERFACTUALS, SAMPLES) and test.gain_at_least is not None:
                gain = cells[augmentation_estimates.WORST]
                cells[augmentation_estimates.WORST] = report.Check(estimate=gain, at_least=test.gain_at_least)
            rows.append((f"{arm} − {other}, {kind}", *cells.values()))
    return report.Table(
        title=f"{test_images.name}: differences",
        columns=("Difference, and its interval", *COLUMNS.values()),
        rows=tuple(rows),
        note=(
            "Paired by patient and seed, in percentage points. A target is compared with the value. The intervals do "
            "not include the variation over sets of added images."
        ),
    )


def groups_table(study: Study, test_images: StudyTestImages) -> report.Table:
    names = group_names(study.target, study.companion)
    rows = [
        (ARMS[arm], *augmentation_estimates.by_group(test_images, study.of(arm, test_images), config=study.bootstrap))
        for arm in study.arms
    ]
    return report.Table(
        title=f"{test_images.name}: accuracy by group",
        columns=("Trained on", *(report.Column(name=name, unit="%") for name in names)),
        rows=tuple(rows),
        note="Means over seeds, intervals over patients.",
    )


def seeds_table(study: Study) -> report.Table:
    """Every training, and the paired difference of each seed."""
    rows = []
    for test_images in study.test_images:
        for arm, *other in (*((arm,) for arm in study.arms), (COUNTERFACTUALS, SAMPLES)):
            name = f"{arm} − {other[0]}" if other else ARMS[arm]
            for seed in study.seeds:
                cells = [study.estimate(m, test_images, PATIENTS, arm, *other, seeds=(seed,)) for m in COLUMNS]
                rows.append((f"{test_images.name}: {name}, seed {seed}", *cells))
    return report.Table(
        title="Every training",
        columns=("Held out, arm, seed", *COLUMNS.values()),
        rows=tuple(rows),
        note="Intervals are 95 %, bootstrap over patients.",
    )


def added_chart(study: Study) -> report.Bars:
    """Numbers of real images and of added images per arm, by group."""
    names = group_names(study.target, study.companion)
    arms = [arm for arm in ARMS if arm in study.counts]
    return report.Bars(
        title="Training images: the real ones, and what each arm adds",
        categories=tuple(arm if arm == REAL else f"added: {arm}" for arm in arms),
        y={name: tuple(int(study.counts[arm][i]) for arm in arms) for i, name in enumerate(names)},
        y_label="images",
    )


def counts_of(folder: Path, target: str, companion: str) -> np.ndarray:
    """int [4]: the images of a data set's split train by group."""
    attributes = [example.attributes for example in pipeline.open_split(folder, "train")]
    return group_counts(targets.values(attributes, (target, companion)))


def strips(cases: Cases, truth: Sequence[np.ndarray], shown: int) -> tuple[report.Strip, ...]:
    """The first `shown` subjects of every edit: original, counterfactual, and the true one where it exists."""
    strips = []
    for edit in cases.edits:
        places = cases.of(edit)
        for i in places[subjects.drawn(cases.patients[places].tolist(), shown)]:
            case = cases.cases[i]
            images = {name: cases.manifest.image(case.row[name]) for name in ("original", "edited")}
            if len(truth):
                images["true counterfactual"] = truth[i]
            named = tuple(report.Sample(image=image, caption=name) for name, image in images.items())
            strips.append(report.Strip(title=f"patient {case.patient}", images=named, group=edit.name))
    return tuple(strips)


def samples(study: Study, shown: int) -> tuple[report.Sample, ...]:
    """The first plain samples, with captions of their labels."""
    source = pipeline.open_split(study.run / "data" / SAMPLES, "train")
    return tuple(
        report.Sample(
            image=transforms.decode(source[i].image),
            caption=PLAIN.describe(source[i].attributes),
            group="Plain samples",
        )
        for i in range(min(4 * shown, len(source)))
    )


def load_judge(folder: str, findings: Sequence[str]) -> Classifier:
    """The classifier in `folder`; ValueError if it lacks one of the findings."""
    judge = Classifier.from_pretrained(folder)
    for name in findings:
        judge.column(name)
    return judge


def label_agreement(folders: Mapping[str, Path], judge: str, findings: Sequence[str], batch_size: int) -> report.Table:
    """Agreement of an independent classifier with the labels, one row for the data set of every arm."""
    classifier = load_judge(judge, findings)
    rows = [(IMAGES[arm], *_agreement(classifier, folder, findings, batch_size)) for arm, folder in folders.items()]
    return report.Table(
        title="Agreement with labels, by an independent classifier",
        columns=("Training images", *(report.Column(name=f"{name} as labelled", unit="%") for name in findings)),
        rows=tuple(rows),
        note=(
            f"Fraction in which {judge} agrees with the label, with Wilson's interval over patients. It errs too: "
            "labels of real images and of true counterfactuals are correct."
        ),
    )


def _agreement(judge: Classifier, folder: Path, findings: Sequence[str], batch_size: int) -> list[Estimate]:
    """Fraction of the split train in which the judge agrees with the label, by finding."""
    source = pipeline.open_split(folder, "train")
    images = np.stack([transforms.decode(example.image) for example in source])
    labels = targets.values([example.attributes for example in source], findings)  # [n, findings]
    patients, estimates = [example.patient for example in source], []
    for i, name in enumerate(findings):
        predicted = probability(judge, name, images, batch_size, f"judging {folder.name}") >= CUT
        hits = np.where(np.isnan(labels[:, i]), np.nan, predicted == (labels[:, i] == 1))
        estimates.append(proportion(hits, subjects=patients))
    return estimates
