"""Leakage of an edit into another attribute: ratio of mean changes (Fieller 1954), and its asymmetry."""

import dataclasses

import numpy as np
from scipy import special

from prism_jax.stats.cluster_bootstrap import effective_sample_size, resample
from prism_jax.stats.cluster_sums import patient_sums
from prism_jax.stats.effects import EffectConfig, Row
from prism_jax.stats.intervals import Estimate

MIN_TARGET_Z = 2.0  # standard errors by which an edit must change its own target


def ratio(row: Row, *, off: int, on: int, config: EffectConfig | None = None) -> Estimate:
    """Mean change of column `off` for each unit of change of column `on`, with Fieller's interval (1954).

    The interval is NaN where the on-target change does not differ from 0 at the level: the ratio is then unbounded.
    Both columns should be on one scale (logits or probabilities). `count` is the number of patients with both.
    """
    config = config or EffectConfig()
    changes, images, patients = _both(row, (off, on))
    top, bottom = changes.sum(axis=0) / images.sum()
    value = float(np.divide(top, bottom)) if bottom else float("nan")
    dof = float(effective_sample_size(images)[0]) - 1
    if patients < 2 or dof <= 0 or not bottom:
        return Estimate(value=value, count=patients)
    left = changes - images * np.array([top, bottom])
    (vt, vtb), (_, vb) = left.T @ left / images.sum() ** 2 * patients / (patients - 1)
    square = special.stdtrit(dof, (1 + config.level) / 2) ** 2
    # The ratios r for which (top - r bottom)² <= t² var(top - r bottom): a quadratic in r.
    a, b, c = bottom**2 - square * vb, top * bottom - square * vtb, top**2 - square * vt
    if a <= 0:
        return Estimate(value=value, count=patients)
    half = np.sqrt(max(b**2 - a * c, 0.0))
    return Estimate(value=value, low=float((b - half) / a), high=float((b + half) / a), count=patients)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asymmetry:
    """Leakage of edit A into B and of edit B into A, each relative to the on-target change of the same attribute."""

    first: Estimate  # change of B by the edit of A, over that by the edit of B
    second: Estimate  # change of A by the edit of B, over that by the edit of A
    difference: Estimate  # first minus second
    p: float  # of the difference being 0


def asymmetry(of_a: Row, of_b: Row, *, a: int, b: int, config: EffectConfig | None = None) -> Asymmetry:
    """Compares the edit `of_a` of column `a` with the edit `of_b` of column `b`, on the same or different patients.

    Both changes of a ratio are of one column, so the judges' scales cancel. Patients are resampled whole, those of both
    edits together.

    Raises:
      ValueError: an edit that changed its own target by less than MIN_TARGET_Z standard errors.
    """
    config = config or EffectConfig()
    names = np.unique(np.concatenate([of_a.patients, of_b.patients]))
    sums = [patient_sums(row.changes[:, [a, b]], None, row.patients, names) for row in (of_a, of_b)]
    parts = np.concatenate([part for of_edit in sums for part in (of_edit.changes, of_edit.images)], axis=1)
    parts = parts[parts[:, [2, 3, 6, 7]].any(axis=1)]
    means = resample(_means, parts, config=config.bootstrap)
    for name, place in (("first", 0), ("second", 3)):
        if not abs(means.value[place]) > MIN_TARGET_Z * means.standard_error[place]:
            size = f"{means.value[place]:.3g} ± {means.standard_error[place]:.2g}"
            raise ValueError(f"the {name} edit changed its own target by {size}, too little to divide by")
    weights = np.tile((parts[:, [2, 3]] + parts[:, [6, 7]]).sum(axis=1)[:, None], (1, 3))
    resampled = resample(_ratios, parts, weights=weights, config=config.bootstrap)
    first, second, gap = resampled.estimates(config.level, len(parts))
    return Asymmetry(first=first, second=second, difference=gap, p=float(resampled.p()[2]))


def _means(sums: np.ndarray) -> np.ndarray:
    """[..., 4] Mean changes: A and B by the edit of A, A and B by the edit of B."""
    return np.concatenate([sums[..., 0:2] / sums[..., 2:4], sums[..., 4:6] / sums[..., 6:8]], axis=-1)


def _ratios(sums: np.ndarray) -> np.ndarray:
    a_by_a, b_by_a, a_by_b, b_by_b = np.moveaxis(_means(sums), -1, 0)
    first, second = b_by_a / b_by_b, a_by_b / a_by_a
    return np.stack([first, second, first - second], axis=-1)


def _both(row: Row, columns: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, int]:
    """(Sums of changes [P, 2], counts of images [P, 1], P) where both columns were measured."""
    changes = row.changes[:, columns]
    complete = ~np.isnan(changes).any(axis=1)
    if not complete.any():
        raise ValueError("no image has both attributes measured; a ratio needs them on the same images")
    sums = patient_sums(changes[complete], None, row.patients[complete], np.unique(row.patients[complete]))
    return sums.changes, sums.images[:, :1], len(sums.changes)
