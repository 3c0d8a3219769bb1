"""Do added pictures show what they are labelled with? What a classifier that had no part in the study says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from prism_jax import report
from prism_jax.classifier import Classifier
from prism_jax.data import targets, transforms
from prism_jax.data.loading import pipeline
from prism_jax.evaluation.augmentation.trainings import COUNTERFACTUALS, REAL, SAMPLES, TRUTH, ask
from prism_jax.metrics.classification import CUT
from prism_jax.stats.intervals import Estimate, proportion

PICTURES = {
    REAL: "real pictures",
    SAMPLES: "plain samples",
    COUNTERFACTUALS: "counterfactuals",
    TRUTH: "true counterfactuals",
}


def load(folder: str, findings: Sequence[str]) -> Classifier:
    """The classifier in `folder`; ValueError where it does not know one of the findings."""
    judge = Classifier.from_pretrained(folder)
    for name in findings:
        judge.column(name)
    return judge


def agreement(judge: Classifier, folder: Path, findings: Sequence[str], batch_size: int) -> list[Estimate]:
    """Share of a data set's split train in which the judge finds what the label says, finding by finding."""
    source = pipeline.open_split(folder, "train")
    images = np.stack([transforms.decode(example.image) for example in source])
    labels = targets.values([example.attributes for example in source], findings)  # [n, findings]
    patients, found = [example.patient for example in source], []
    for i, name in enumerate(findings):
        says = ask(judge, name, images, batch_size, f"judging {folder.name}") >= CUT
        hits = np.where(np.isnan(labels[:, i]), np.nan, says == (labels[:, i] == 1))
        found.append(proportion(hits, subjects=patients))
    return found


def table(folders: Mapping[str, Path], judge: str, findings: Sequence[str], batch_size: int) -> report.Table:
    """One row for the data set of every arm."""
    one = load(judge, findings)
    rows = [(PICTURES[arm], *agreement(one, folder, findings, batch_size)) for arm, folder in folders.items()]
    return report.Table(
        title="What the pictures show, as an independent classifier sees it",
        columns=("Training pictures", *(report.Column(name=f"{name} as labelled", unit="%") for name in findings)),
        rows=tuple(rows),
        note=(
            f"The share in which {judge} finds what the label says, with Wilson's interval over patients. It errs "
            "itself: on real pictures, and on true counterfactuals where there are any, labels are right."
        ),
    )
