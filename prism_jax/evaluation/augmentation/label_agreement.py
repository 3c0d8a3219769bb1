"""Agreement of the added images with their labels, by an independent classifier."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from prism_jax import report
from prism_jax.classifier import Classifier
from prism_jax.data import targets, transforms
from prism_jax.data.loading import pipeline
from prism_jax.evaluation.augmentation.trainings import COUNTERFACTUALS, REAL, SAMPLES, TRUTH, probability
from prism_jax.metrics.classification import CUT
from prism_jax.stats.intervals import Estimate, proportion

IMAGES = {
    REAL: "real images",
    SAMPLES: "plain samples",
    COUNTERFACTUALS: "counterfactuals",
    TRUTH: "true counterfactuals",
}


def load(folder: str, findings: Sequence[str]) -> Classifier:
    """The classifier in `folder`; ValueError if it lacks one of the findings."""
    judge = Classifier.from_pretrained(folder)
    for name in findings:
        judge.column(name)
    return judge


def agreement(judge: Classifier, folder: Path, findings: Sequence[str], batch_size: int) -> list[Estimate]:
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


def table(folders: Mapping[str, Path], judge: str, findings: Sequence[str], batch_size: int) -> report.Table:
    """One row for the data set of every arm."""
    one = load(judge, findings)
    rows = [(IMAGES[arm], *agreement(one, folder, findings, batch_size)) for arm, folder in folders.items()]
    return report.Table(
        title="Agreement with labels, by an independent classifier",
        columns=("Training images", *(report.Column(name=f"{name} as labelled", unit="%") for name in findings)),
        rows=tuple(rows),
        note=(
            f"Fraction in which {judge} agrees with the label, with Wilson's interval over patients. It errs too: "
            "labels of real images and of true counterfactuals are correct."
        ),
    )
