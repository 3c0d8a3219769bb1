"""Changes of what is truly there, from a judge that errs: its errors on labelled images are taken out.

What the judge sees is the truth through its confusion matrix; the matrix, estimated on real images with labels, is
turned round (Rogan & Gladen 1978 for two classes). With classes that are combinations of two attributes (neither, A
alone, B alone, both) it also takes out that the judge of B is swayed by A. It takes for granted that the judge errs
on edited images as on real ones.
"""

import dataclasses

import numpy as np

from prism_jax.stats.cluster_bootstrap import resample
from prism_jax.stats.effects import EffectConfig
from prism_jax.stats.intervals import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """The judge's classes (int [n], from 0) of each image before and after the edit, and whose image it is."""

    before: np.ndarray
    after: np.ndarray
    patients: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled:
    """Real images with labels that the judge was not made with: true and judged class (int [n]), and whose they are."""

    true: np.ndarray
    judged: np.ndarray
    patients: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adjusted:
    """Change of the share of images in each class, edited less reconstruction."""

    seen: tuple[Estimate, ...]  # as the judge has it
    true: tuple[Estimate, ...]  # without its errors; the interval has the error of the confusion matrix too
    confusion: tuple[tuple[float, ...], ...]  # [judged][true] shares; columns sum to 1


def adjusted_change(
    seen: Seen, labelled: Labelled, *, classes: int = 2, config: EffectConfig | None = None
) -> Adjusted:
    """What the edit did to the true share of each class; for two classes the second of `true` is "present".

    Raises:
      ValueError: a class without labelled images of `config.fewest` patients, or a judge that is no better than chance.
        One that is hardly better has intervals that say so.
    """
    config = config or EffectConfig()
    _check(seen, labelled, classes, config)
    cohort = _shares(seen, classes)  # [P, classes + 1]
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
    found = resample(statistic, parts, weights=weights, strata=strata, config=config.bootstrap)
    estimates = found.estimates(config.level, len(cohort))
    return Adjusted(
        seen=estimates[:classes],
        true=estimates[classes:],
        confusion=tuple(tuple(float(share) for share in row) for row in matrix),
    )


def _changes(sums: np.ndarray, classes: int) -> np.ndarray:
    """[..., 2 classes] Changes of shares as seen and as true."""
    seen = sums[..., :classes] / sums[..., classes : classes + 1]
    confusion = _normalised(sums[..., classes + 1 :], classes)
    usable = np.isfinite(confusion).all(axis=(-2, -1))
    usable &= np.abs(np.linalg.det(np.where(usable[..., None, None], confusion, 0.0))) > np.finfo(float).eps
    inverted = np.where(usable[..., None, None], confusion, np.eye(classes))
    true = np.linalg.solve(inverted, seen[..., None])[..., 0]
    return np.concatenate([seen, np.where(usable[..., None], true, np.nan)], axis=-1)


def _normalised(counts: np.ndarray, classes: int) -> np.ndarray:
    """Counts [..., classes²] of [judged, true] as shares of the true."""
    counts = counts.reshape(*counts.shape[:-1], classes, classes)
    with np.errstate(divide="ignore", invalid="ignore"):
        return counts / counts.sum(axis=-2, keepdims=True)


def _shares(seen: Seen, classes: int) -> np.ndarray:
    """[P, classes + 1] What each patient adds to the changes of counts, and its images."""
    which = np.eye(classes)
    moved = which[np.asarray(seen.after)] - which[np.asarray(seen.before)]
    return _by_patient(np.concatenate([moved, np.ones((len(moved), 1))], axis=1), seen.patients)


def _confusions(labelled: Labelled, classes: int) -> np.ndarray:
    pairs = np.asarray(labelled.judged) * classes + np.asarray(labelled.true)
    return _by_patient(np.eye(classes**2)[pairs], labelled.patients)


def _by_patient(values: np.ndarray, patients: np.ndarray) -> np.ndarray:
    names, owner = np.unique(patients, return_inverse=True)
    total = np.zeros((len(names), values.shape[1]))
    np.add.at(total, owner, values)
    return total


def _check(seen: Seen, labelled: Labelled, classes: int, config: EffectConfig) -> None:
    for name, which in (("before", seen.before), ("after", seen.after), ("true", labelled.true)):
        if len(which) == 0 or np.min(which) < 0 or np.max(which) >= classes:
            raise ValueError(f"{name}: classes must be 0 to {classes - 1}, of one image or more")
    for number in range(classes):
        patients = len(np.unique(np.asarray(labelled.patients)[np.asarray(labelled.true) == number]))
        if patients < config.fewest:
            needed = f"{config.fewest:g} are needed to know the judge's errors"
            raise ValueError(f"class {number} has labelled images of {patients} patients; {needed}")
