"""The report of a study: tables of what was measured, and the pictures that were added."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from prism_jax import config as configs
from prism_jax import report
from prism_jax.data import targets, transforms
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.loading import pipeline
from prism_jax.evaluation.augmentation import estimates as augmentation_estimates
from prism_jax.evaluation.augmentation.test_sets import HeldOut, HeldOutSet, group_counts, group_names
from prism_jax.evaluation.augmentation.trainings import ARMS, COUNTERFACTUALS, REAL, SAMPLES, TRUTH
from prism_jax.evaluation.edited_cohort import Cases
from prism_jax.stats.intervals import BootstrapConfig, Estimate

CONTRASTS = ((COUNTERFACTUALS, SAMPLES), (COUNTERFACTUALS, REAL), (SAMPLES, REAL), (TRUTH, COUNTERFACTUALS))
COLUMNS = {
    "accuracy": report.Column(name="Accuracy", unit="%"),
    "auroc": "AUROC",
    augmentation_estimates.WORST: report.Column(name="Worst-group accuracy", unit="%"),
}
PATIENTS, SEEDS = "over patients", "over seeds"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """What was seen, before it is measured."""

    title: str
    run: Path
    target: str
    companion: str
    seeds: tuple[int, ...]
    tests: tuple[HeldOutSet, ...]
    held: tuple[HeldOut, ...]  # of each test set
    seen: Mapping[tuple[str, int], Mapping[str, np.ndarray]]  # (arm, seed) -> test set -> probabilities [n]
    counts: Mapping[str, np.ndarray]  # arm -> int [4] pictures that it adds, by group; of REAL the real ones
    bootstrap: BootstrapConfig

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(arm for arm in ARMS if (arm, self.seeds[0]) in self.seen)

    def of(self, arm: str, test: HeldOut) -> list[np.ndarray]:
        """Probabilities [n] of each seed."""
        return [self.seen[arm, seed][test.name] for seed in self.seeds]

    def estimate(self, measure: str, test: HeldOut, kind: str, *arms: str) -> Estimate:
        """A measure of one arm, or of the first less the second, mean over seeds, with an interval of this kind."""
        compute, columns = augmentation_estimates.MEASURES[measure], [self.of(arm, test) for arm in arms]
        if kind == SEEDS:
            return augmentation_estimates.over_seeds(compute, test, *columns, level=self.bootstrap.level)
        return augmentation_estimates.over_patients(compute, test, *columns, config=self.bootstrap)


def document_of(study: Study, cases: Cases, truth: Sequence[np.ndarray], shown: int) -> report.Report:
    """The study as a report. `truth` are the true counterfactuals of `cases`, none where nobody knows them."""
    tables = [table for test, held in zip(study.tests, study.held, strict=True) for table in of_test(study, test, held)]
    return report.Report(
        title=study.title,
        summary=summary(study),
        headline=headline(study),
        strips=strips(cases, truth, shown),
        samples=samples(study, shown),
        charts=(added_chart(study),),
        tables=(*tables, seeds_table(study)),
        settings=json.loads((study.run / configs.FILE_NAME).read_text()),
        versions=report.versions(),
    )


def summary(study: Study) -> str:
    """What was done, in a paragraph."""
    added = int(study.counts[COUNTERFACTUALS].sum())
    return (
        f"Classifiers of {study.target}, trained on {int(study.counts[REAL].sum()):,} images in which it and "
        f"{study.companion} go together, with {added:,} further pictures of different kinds, the same number in every "
        f"arm but the first; {len(study.seeds)} trainings each (seeds {', '.join(map(str, study.seeds))}). "
        "How good the counterfactuals are stands in cohort/report.html."
    )


def headline(study: Study) -> tuple[tuple[str, str], ...]:
    """The gain in worst-group accuracy over plain samples, on each test set."""
    found = []
    for held in study.held:
        gain = study.estimate(augmentation_estimates.WORST, held, PATIENTS, COUNTERFACTUALS, SAMPLES)
        says = f"points of worst-group accuracy over plain samples, {held.name}"
        says += f" ({100 * gain.low:+.1f} to {100 * gain.high:+.1f} over patients)"
        found.append((f"{100 * gain.value:+.1f}".replace("-", "−"), says))
    return tuple(found)


def of_test(study: Study, test: HeldOutSet, held: HeldOut) -> tuple[report.Table, ...]:
    """Three tables of one test set: arms, differences, groups."""
    return arms_table(study, held), differences_table(study, test, held), groups_table(study, held)


def arms_table(study: Study, held: HeldOut) -> report.Table:
    rows = [
        (ARMS[arm], *(study.estimate(name, held, PATIENTS, arm) for name in COLUMNS))
        + (study.estimate(augmentation_estimates.WORST, held, SEEDS, arm),)
        for arm in study.arms
    ]
    over = report.Column(name="Worst-group accuracy, interval over seeds", unit="%")
    return report.Table(
        title=f"{held.name}: arms",
        columns=("Trained on", *COLUMNS.values(), over),
        rows=tuple(rows),
        note=(
            "Means over seeds. Intervals are 95 %: bootstrap over patients with these classifiers, in the last column "
            "Student's over seeds (n are seeds). The worst group is the one of the four with the lowest accuracy."
        ),
    )


def differences_table(study: Study, test: HeldOutSet, held: HeldOut) -> report.Table:
    """Arms against each other, each seed with its own twin and each patient with himself."""
    rows = []
    for arm, other in CONTRASTS:
        if not {arm, other} <= set(study.arms):
            continue
        for kind in (PATIENTS, SEEDS):
            cells = {name: study.estimate(name, held, kind, arm, other) for name in COLUMNS}
            if (arm, other) == (COUNTERFACTUALS, SAMPLES) and test.gain_at_least is not None:
                cells[augmentation_estimates.WORST] = report.Check(
                    estimate=cells[augmentation_estimates.WORST], at_least=test.gain_at_least
                )
            rows.append((f"{arm} − {other}, {kind}", *cells.values()))
    return report.Table(
        title=f"{held.name}: differences",
        columns=("Difference, and its interval", *COLUMNS.values()),
        rows=tuple(rows),
        note=(
            "Paired: the same patients, and trainings of the same seed. Shares are in points of percent. A target "
            "is judged on the value. The intervals say nothing of another set of added pictures."
        ),
    )


def groups_table(study: Study, held: HeldOut) -> report.Table:
    names = group_names(study.target, study.companion)
    rows = [
        (ARMS[arm], *augmentation_estimates.by_group(held, study.of(arm, held), config=study.bootstrap))
        for arm in study.arms
    ]
    return report.Table(
        title=f"{held.name}: accuracy by group",
        columns=("Trained on", *(report.Column(name=name, unit="%") for name in names)),
        rows=tuple(rows),
        note="Means over seeds, intervals over patients.",
    )


def seeds_table(study: Study) -> report.Table:
    """Every training by itself, and the paired difference of each seed."""
    rows = []
    for held in study.held:
        for arm, *other in (*((arm,) for arm in study.arms), (COUNTERFACTUALS, SAMPLES)):
            name = f"{arm} − {other[0]}" if other else ARMS[arm]
            for seed in study.seeds:
                columns = [[study.seen[one, seed][held.name]] for one in (arm, *other)]
                options = dict(config=study.bootstrap)
                cells = [
                    augmentation_estimates.over_patients(augmentation_estimates.MEASURES[m], held, *columns, **options)
                    for m in COLUMNS
                ]
                rows.append((f"{held.name}: {name}, seed {seed}", *cells))
    return report.Table(
        title="Every training",
        columns=("Held out, arm, seed", *COLUMNS.values()),
        rows=tuple(rows),
        note="Intervals are 95 %, bootstrap over patients.",
    )


def added_chart(study: Study) -> report.Bars:
    """How many pictures of each group an arm adds, and how many real ones there are."""
    names = group_names(study.target, study.companion)
    arms = [arm for arm in ARMS if arm in study.counts]
    return report.Bars(
        title="Training pictures: the real ones, and what each arm adds",
        categories=tuple(arm if arm == REAL else f"added: {arm}" for arm in arms),
        y={name: tuple(int(study.counts[arm][i]) for arm in arms) for i, name in enumerate(names)},
        y_label="pictures",
    )


def counts_of(folder: Path, target: str, companion: str) -> np.ndarray:
    """int [4]: the images of a data set's split train by group."""
    known = [example.attributes for example in pipeline.open_split(folder, "train")]
    return group_counts(targets.values(known, (target, companion)))


def strips(cases: Cases, truth: Sequence[np.ndarray], shown: int) -> tuple[report.Strip, ...]:
    """The first `shown` subjects of every change: original, counterfactual, and the true one where it is known."""
    made = []
    for edit in cases.edits:
        for i in cases.of(edit)[:shown]:
            case = cases.cases[i]
            pictures = {name: cases.manifest.image(case.row[name]) for name in ("original", "edited")}
            if len(truth):
                pictures["true counterfactual"] = truth[i]
            named = tuple(report.Sample(image=picture, caption=name) for name, picture in pictures.items())
            made.append(report.Strip(title=f"patient {case.patient}", images=named, group=edit.name))
    return tuple(made)


def samples(study: Study, shown: int) -> tuple[report.Sample, ...]:
    """The first plain samples, with the captions that they are labelled by."""
    source = pipeline.open_split(study.run / "data" / SAMPLES, "train")
    return tuple(
        report.Sample(
            image=transforms.decode(source[i].image),
            caption=PLAIN.describe(source[i].attributes),
            group="Plain samples",
        )
        for i in range(min(4 * shown, len(source)))
    )
