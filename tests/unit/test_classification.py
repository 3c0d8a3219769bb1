"""Figures of a classifier: they agree with scikit-learn, do not depend on batches, and know their limits."""

import numpy as np
import pytest

from prism_jax.metrics import classification as c
from prism_jax.stats.intervals import BootstrapConfig

FEW = BootstrapConfig(resamples=50)
DRAW = np.random.default_rng(0)
LABELS = (DRAW.random(300) < 0.3).astype(float)
PROBABILITIES = np.round(np.clip(0.5 * LABELS + 0.8 * DRAW.random(300), 0, 1), 2)  # with ties
PATIENTS = np.repeat(np.arange(100), 3)


def kept(rows=slice(None), **options):
    return c.ClassificationMetrics.of(PROBABILITIES[rows], LABELS[rows], patients=PATIENTS[rows], **options)


def test_areas_and_scores_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    theirs = {
        c.auroc: metrics.roc_auc_score(LABELS, PROBABILITIES),
        c.average_precision: metrics.average_precision_score(LABELS, PROBABILITIES),
        c.brier: metrics.brier_score_loss(LABELS, PROBABILITIES),
        c.accuracy: metrics.accuracy_score(LABELS, PROBABILITIES >= 0.5),
        c.balanced_accuracy: metrics.balanced_accuracy_score(LABELS, PROBABILITIES >= 0.5),
    }
    for ours, value in theirs.items():
        np.testing.assert_allclose(ours(PROBABILITIES, LABELS), value, rtol=1e-12)


def test_the_area_under_the_curve_is_the_share_of_ordered_pairs():
    with_it, without = PROBABILITIES[LABELS == 1], PROBABILITIES[LABELS == 0]
    pairs = (with_it[:, None] > without) + 0.5 * (with_it[:, None] == without)
    np.testing.assert_allclose(c.auroc(PROBABILITIES, LABELS), pairs.mean(), rtol=1e-12)
    np.testing.assert_allclose(c.auroc(-PROBABILITIES, LABELS), 1 - pairs.mean(), rtol=1e-12)


def test_average_precision_is_the_sum_over_thresholds():
    total, before = 0.0, 0.0
    for threshold in np.unique(PROBABILITIES)[::-1]:
        found = threshold <= PROBABILITIES
        recall, precision = LABELS[found].sum() / LABELS.sum(), LABELS[found].mean()
        total, before = total + (recall - before) * precision, recall
    np.testing.assert_allclose(c.average_precision(PROBABILITIES, LABELS), total, rtol=1e-12)


def test_a_perfect_and_a_constant_classifier():
    assert c.auroc(LABELS, LABELS) == c.average_precision(LABELS, LABELS) == 1
    assert c.brier(LABELS, LABELS) == c.calibration_error(LABELS, LABELS) == 0
    rate = np.full_like(LABELS, LABELS.mean())
    assert c.auroc(rate, LABELS) == 0.5
    np.testing.assert_allclose(c.average_precision(rate, LABELS), LABELS.mean())
    np.testing.assert_allclose(c.calibration_error(rate, LABELS), 0, atol=1e-12)


def test_calibration_error_is_how_far_probabilities_are_off():
    np.testing.assert_allclose(c.calibration_error(np.full(4, 0.85), np.array([1.0, 1, 0, 0])), 0.35)
    # one bin says 0.05 where nothing is, the other 0.95 where half is: (2 * 0.05 + 2 * 0.45) / 4
    np.testing.assert_allclose(c.calibration_error(np.array([0.05, 0.05, 0.95, 0.95]), np.array([0.0, 0, 1, 0])), 0.25)


def test_unknown_labels_do_not_count_and_intervals_are_of_patients():
    labels = np.where(np.arange(300) < 30, np.nan, LABELS)
    part = c.ClassificationMetrics.of(PROBABILITIES, labels, patients=PATIENTS).compute(config=FEW)
    assert part == kept(slice(30, 300)).compute(config=FEW)
    assert part["auroc"].count == 90
    assert part["auroc"].low < part["auroc"].value < part["auroc"].high


def test_the_worst_group_is_the_lowest_accuracy_within_a_group():
    probabilities, labels = np.array([0.1, 0.2, 0.9, 0.1, 0.2]), np.array([0.0, 0, 1, 1, 1])
    worst = c.worst_group_accuracy(probabilities, labels, np.array([0, 0, 1, 1, 1]))
    np.testing.assert_allclose([worst, c.accuracy(probabilities, labels)], [1 / 3, 3 / 5])


def test_one_class_has_no_area():
    only = c.ClassificationMetrics.of([0.2, 0.4], [0, 0], patients=np.arange(2)).compute(config=FEW)
    assert np.isnan([only[name].value for name in ("auroc", "auprc", "balanced_accuracy")]).all()
    assert only["accuracy"].value == 1
    none = c.ClassificationMetrics.of([0.2], [np.nan], patients=[1]).compute(config=FEW)
    assert none["accuracy"].count == 0


def test_ages_that_are_not_known_do_not_count():
    error = c.age_error([50, 60, 70], [55, np.nan, 69], patients=np.arange(3), config=FEW)
    assert (error.value, error.count) == (3.0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.2, 1.2], [0, 1]), r"probabilities must lie in \[0, 1\]"),
        (([0.2, 0.3], [0, 2]), "labels .* are not 1, 0 or NaN"),
        (([0.2], [0, 1]), "lengths"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        c.ClassificationMetrics.of(*arguments, patients=np.arange(2))
