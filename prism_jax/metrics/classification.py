"""Discrimination and calibration of a classifier.

NumPy in float64, on the host. Scores are kept rather than summed: areas under curves and resamples of patients need
all of them.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap

BINS = 10  # of the calibration error
CUT = 0.5  # probability from which a target counts as present


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationMetrics:
    """Probabilities and labels of one target, [n] each; images with an unknown label are dropped."""

    probabilities: np.ndarray  # float64 in [0, 1]
    labels: np.ndarray  # float64, 1 or 0
    patients: np.ndarray  # who each image is of

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray, *, patients: np.ndarray) -> "ClassificationMetrics":
        """Takes a batch: `labels` are 1, 0 or NaN where unknown.

        Raises:
          ValueError: lengths differ, a probability is not in [0, 1], a label is not 1, 0 or NaN.
        """
        probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
        lengths = [len(column) for column in (probabilities, labels, patients)]
        if len(set(lengths)) > 1:
            raise ValueError(f"probabilities, labels and patients have lengths {lengths}; give one per image")
        has_label = ~np.isnan(labels)
        if not np.isin(labels[has_label], (0, 1)).all():
            raise ValueError(f"labels {np.unique(labels[has_label])} are not 1, 0 or NaN")
        if not ((probabilities[has_label] >= 0) & (probabilities[has_label] <= 1)).all():
            raise ValueError("probabilities must lie in [0, 1]; give the sigmoid of logits")
        columns = dict(probabilities=probabilities, labels=labels, patients=np.asarray(patients))
        return cls(**{name: column[has_label] for name, column in columns.items()})

    def compute(self, *, config: BootstrapConfig | None = None) -> dict[str, Estimate]:
        """Every figure with its count of patients and interval; NaN with fewer than two classes."""
        options = dict(subjects=self.patients, config=config)
        statistics = {
            "auroc": auroc,
            "auprc": average_precision,
            "brier": brier,
            "calibration_error": calibration_error,
            "accuracy": accuracy,
            "balanced_accuracy": balanced_accuracy,
        }
        return {
            name: _estimate(statistic, self.probabilities, self.labels, **options)
            for name, statistic in statistics.items()
        }


def by_target(
    probabilities: np.ndarray, labels: np.ndarray, targets: Sequence[str], *, patients: np.ndarray
) -> Mapping[str, ClassificationMetrics]:
    """The metrics of each of n targets, of probabilities and labels [m, n]."""
    return {
        name: ClassificationMetrics.of(probabilities[:, i], labels[:, i], patients=patients)
        for i, name in enumerate(targets)
    }


def age_error(
    predicted: np.ndarray, ages: np.ndarray, *, patients: np.ndarray, config: BootstrapConfig | None = None
) -> Estimate:
    """Mean absolute error of ages [n] in years, of those given (not NaN)."""
    error = np.abs(np.asarray(predicted, np.float64) - np.asarray(ages, np.float64))
    return bootstrap(np.mean, error, subjects=patients, config=config)


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of pairs in which the image with the target scores higher; a tie counts half (Mann and Whitney 1947).

    NaN labels are left out; NaN where there is one class only.
    """
    scores, labels = _known(scores, labels)
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)[labels == 1].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the precision-recall curve as its sum over thresholds (scikit-learn's `average_precision_score`)."""
    scores, labels = _known(scores, labels)
    if not labels.sum():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # of each run of equal scores
    found = np.cumsum(labels)[last]
    precision, recall = found / (last + 1), found / found[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared error of the probability (Brier 1950)."""
    return float(np.mean((probabilities - labels) ** 2))


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: |mean probability - fraction with the target| in 10 equal bins, weighted by images.

    Of the probability of the target (Naeini et al. 2015), not of the predicted class.
    """
    place = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    difference = np.bincount(place, weights=probabilities - labels, minlength=BINS)
    return float(np.abs(difference).sum() / len(labels))


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of images on the right side of 0.5."""
    return float(np.mean((probabilities >= CUT) == (labels == 1)))


def balanced_accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of the accuracies with and without the target; NaN where there is one class only."""
    hits = (probabilities >= CUT) == (labels == 1)
    if labels.all() or not labels.any():
        return float("nan")
    return float((hits[labels == 1].mean() + hits[labels == 0].mean()) / 2)


def worst_group_accuracy(probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> float:
    """The lowest accuracy of the groups, numbered from 0, that are there."""
    hits, number = (probabilities >= CUT) == (labels == 1), groups.astype(int)
    counts = np.bincount(number)
    return float(np.min(np.bincount(number, weights=hits)[counts > 0] / counts[counts > 0]))


def _estimate(
    statistic: Callable[..., float], *columns: np.ndarray, subjects: np.ndarray, config: BootstrapConfig | None
) -> Estimate:
    """`bootstrap`, but NaN without resampling if the statistic of the full sample is NaN."""
    if not len(subjects) or np.isnan(statistic(*columns)):
        return Estimate(value=np.nan, count=len(np.unique(subjects)))
    return bootstrap(statistic, *columns, subjects=subjects, config=config)


def _known(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    known = ~np.isnan(labels)
    return scores[known], labels[known]
