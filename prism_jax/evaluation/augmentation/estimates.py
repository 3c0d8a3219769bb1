"""Estimates of a study: mean over seeds of every arm, and differences between arms.

Two kinds of interval: over patients (bootstrap), for other patients with these classifiers; and over seeds (Student's
t), for other trainings on these patients. Neither includes another set of added images.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from prism_jax.evaluation.augmentation.test_sets import StudyTestImages
from prism_jax.metrics import classification
from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap, student_t_mean

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""(probabilities, labels, groups), each [n] -> a number."""

MEASURES: Mapping[str, Measure] = {
    "accuracy": lambda p, labels, groups: classification.accuracy(p, labels),
    "auroc": lambda p, labels, groups: classification.auroc(p, labels),
    "worst_group_accuracy": classification.worst_group_accuracy,
}
WORST = "worst_group_accuracy"
PATIENTS, SEEDS = "over patients", "over seeds"


def estimate(
    measure: Measure,
    test_images: StudyTestImages,
    plus: Sequence[np.ndarray],
    minus: Sequence[np.ndarray] = (),
    *,
    over: str,
    config: BootstrapConfig,
) -> Estimate:
    """Mean over seeds of the measure, with an interval over PATIENTS (bootstrap) or SEEDS (Student's t, paired).

    Over SEEDS `count` is that of seeds, and bounds are NaN where there is one.

    Args:
      plus: probabilities float64 [n] of each seed.
      minus: those of another arm, whose mean is subtracted; patients are resampled for both together.
    """
    labels, groups, count = test_images.labels, test_images.groups, len(plus)
    values_of = lambda labels, groups, *columns: np.array([measure(column, labels, groups) for column in columns])
    if over == SEEDS:
        labelled = ~np.isnan(labels + groups)
        values = values_of(*(column[labelled] for column in (labels, groups, *plus, *minus)))
        return student_t_mean(values[:count] - values[count:] if minus else values, level=config.level)

    def statistic(*columns: np.ndarray) -> float:
        values = values_of(*columns)
        return float(np.mean(values[:count])) - (float(np.mean(values[count:])) if minus else 0.0)

    return bootstrap(statistic, labels, groups, *plus, *minus, subjects=test_images.patients, config=config)


def by_group(test_images: StudyTestImages, plus: Sequence[np.ndarray], *, config: BootstrapConfig) -> list[Estimate]:
    """The accuracy within each of the four groups, mean over seeds, intervals over patients."""
    estimates = []
    for group in range(4):
        rows = test_images.groups == group
        hits = [(column[rows] >= classification.CUT) == (test_images.labels[rows] == 1) for column in plus]
        estimates.append(bootstrap(np.mean, np.mean(hits, axis=0), subjects=test_images.patients[rows], config=config))
    return estimates
