"""Misclassification correction of changes in prevalence (Rogan & Gladen 1978; here for any number of classes).

The judged class frequencies are the true ones times the judge's confusion matrix; the matrix is estimated on labelled
real images and inverted. With classes that combine two attributes (neither, A alone, B alone, both) this also corrects
a judge of B that is influenced by A. Assumes that the judge's error rates are the same on edited and on real images.
"""

import dataclasses

import numpy as np

from prism_jax.stats.cluster_bootstrap import resample
from prism_jax.stats.cluster_sums import patient_totals
from prism_jax.stats.effects import EffectConfig
from prism_jax.stats.intervals import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgedEdits:
    """Judged class (int [n], from 0) of each image before and after the edit, and its patient."""

    before: np.ndarray
    after: np.ndarray
    patients: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Labelled real images not used to train the judge: true and judged class (int [n]), and patient."""

    true: np.ndarray
    judged: np.ndarray
    patients: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorrectedChange:
    """Change of the fraction of images in each class, edited minus reconstruction."""

    apparent: tuple[Estimate, ...]  # as judged
    corrected: tuple[Estimate, ...]  # the interval includes the error of the confusion matrix
    confusion: tuple[tuple[float, ...], ...]  # [judged][true] rates; columns sum to 1


def corrected_change(
    edits: JudgedEdits, labelled: LabelledImages, *, classes: int = 2, config: EffectConfig | None = None
) -> CorrectedChange:
    """Corrected change of the prevalence of each class; for two classes the second is "present".

    Raises:
      ValueError: a class without labelled images of `config.min_patients` patients, or a judge no better than chance.
        A judge that is hardly better gives wide intervals.
    """
    config = config or EffectConfig()
    _check(edits, labelled, classes, config)
    cohort = _count_changes(edits, classes)  # [P, classes + 1]
    errors = _confusions(labelled, classes)  # [L, classes²]
    matrix = _normalised(errors.sum(axis=0), classes)
    if np.linalg.det(matrix) <= 0:
        raise ValueError(
            f"the judge is no better than chance on labelled images (confusion {matrix.round(2).tolist()})"
        )
    parts = np.zeros((len(cohort) + len(errors), cohort.shape[1] + errors.shape[1]))
    parts[: len(cohort), : cohort.shape[1]] = cohort
    parts[len(cohort) :, cohort.shape[1] :] = errors
    strata = np.repeat([0, 1], [len(cohort), len(errors)])
    weights = np.concatenate([cohort[:, -1], errors.sum(axis=1)])[:, None]
    statistic = lambda sums: _changes(sums, classes)
    resampled = resample(statistic, parts, weights=weights, strata=strata, config=config.bootstrap)
    estimates = resampled.estimates(config.level, len(cohort))
    return CorrectedChange(
        apparent=estimates[:classes],
        corrected=estimates[classes:],
        confusion=tuple(tuple(float(rate) for rate in row) for row in matrix),
    )


def _changes(sums: np.ndarray, classes: int) -> np.ndarray:
    """[..., 2 classes] Apparent and corrected changes of prevalence."""
    apparent = sums[..., :classes] / sums[..., classes : classes + 1]
    confusion = _normalised(sums[..., classes + 1 :], classes)
    usable = np.isfinite(confusion).all(axis=(-2, -1))
    usable &= np.abs(np.linalg.det(np.where(usable[..., None, None], confusion, 0.0))) > np.finfo(float).eps
    inverted = np.where(usable[..., None, None], confusion, np.eye(classes))
    true = np.linalg.solve(inverted, apparent[..., None])[..., 0]
    return np.concatenate([apparent, np.where(usable[..., None], true, np.nan)], axis=-1)


def _normalised(counts: np.ndarray, classes: int) -> np.ndarray:
    """Counts [..., classes²] of [judged, true] as rates given the true class."""
    counts = counts.reshape(*counts.shape[:-1], classes, classes)
    with np.errstate(divide="ignore", invalid="ignore"):
        return counts / counts.sum(axis=-2, keepdims=True)


def _count_changes(edits: JudgedEdits, classes: int) -> np.ndarray:
    """[P, classes + 1] Each patient's changes of counts, and number of images."""
    which = np.eye(classes)
    moved = which[np.asarray(edits.after)] - which[np.asarray(edits.before)]
    return patient_totals(np.concatenate([moved, np.ones((len(moved), 1))], axis=1), edits.patients)


def _confusions(labelled: LabelledImages, classes: int) -> np.ndarray:
    pairs = np.asarray(labelled.judged) * classes + np.asarray(labelled.true)
    return patient_totals(np.eye(classes**2)[pairs], labelled.patients)


def _check(edits: JudgedEdits, labelled: LabelledImages, classes: int, config: EffectConfig) -> None:
    for name, which in (("before", edits.before), ("after", edits.after), ("true", labelled.true)):
        if len(which) == 0 or np.min(which) < 0 or np.max(which) >= classes:
            raise ValueError(f"{name}: classes must be 0 to {classes - 1}, of one image or more")
    for number in range(classes):
        patients = len(np.unique(np.asarray(labelled.patients)[np.asarray(labelled.true) == number]))
        if patients < config.min_patients:
            needed = f"{config.min_patients:g} are needed to estimate the judge's errors"
            raise ValueError(f"class {number} has labelled images of {patients} patients; {needed}")
