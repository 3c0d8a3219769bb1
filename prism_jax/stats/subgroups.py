"""Heterogeneity of an edit's effect between subgroups: sex, age, view."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

from prism_jax.stats.cluster_bootstrap import effective_sample_size, resample
from prism_jax.stats.cluster_sums import patient_sums
from prism_jax.stats.effects import EffectConfig, Row
from prism_jax.stats.intervals import Estimate
from prism_jax.stats.sign_flip_test import benjamini_hochberg


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heterogeneity:
    """Mean change of one attribute in each group, and the test of a difference between groups."""

    column: str
    groups: tuple[str, ...]
    effects: tuple[Estimate, ...]  # by group; without interval where the group is too small
    p: float  # of equal means in all groups; NaN where fewer than two are large enough
    q: float  # Benjamini-Hochberg over the columns
    reason: str = ""  # groups that are too small


def age_groups(ages: np.ndarray) -> np.ndarray:
    """str [n] Names of age groups of `ages` [n] (upper edges excluded); "" where unknown."""
    names = np.array(["under 40", "40 to 60", "60 to 75", "75 and over"])
    return np.where(np.isnan(ages), "", names[np.digitize(np.nan_to_num(ages), (40.0, 60.0, 75.0))])


def compare_groups(
    row: Row, groups: np.ndarray, columns: Sequence[str], config: EffectConfig | None = None
) -> tuple[Heterogeneity, ...]:
    """Each column's effect by group; `groups` str [n] names the group of each image, "" where it is unknown.

    The test is Welch's analysis of variance with errors over patients, whose images may lie in several groups (views).

    Raises:
      ValueError: `groups` does not have one name per image, or fewer than two groups.
    """
    config = config or EffectConfig()
    groups = np.asarray(groups)
    names = [str(name) for name in np.unique(groups) if name]
    if len(groups) != len(row.patients) or len(names) < 2:
        raise ValueError(
            f"got {len(groups)} group names, {names}, for {len(row.patients)} images; give one per image, of two groups"
        )
    measured = [_column(row, groups, names, place, column, config) for place, column in enumerate(columns)]
    q = benjamini_hochberg(np.array([column.p for column in measured]))
    return tuple(dataclasses.replace(column, q=float(value)) for column, value in zip(measured, q, strict=True))


def _column(
    row: Row, groups: np.ndarray, names: list[str], place: int, column: str, config: EffectConfig
) -> Heterogeneity:
    members = np.array([groups == name for name in names]).T  # [n, g]
    changes = np.where(members, row.changes[:, [place]], np.nan)
    sums = patient_sums(changes, None, row.patients, np.unique(row.patients))
    usable = effective_sample_size(sums.images) >= config.min_patients
    small = [f"{name} ({np.count_nonzero(sums.images[:, i])})" for i, name in enumerate(names) if not usable[i]]
    return Heterogeneity(
        column=column,
        groups=tuple(names),
        effects=tuple(_effect(sums.changes[:, i], sums.images[:, i], usable[i], config) for i in range(len(names))),
        p=_welch(sums.changes[:, usable], sums.images[:, usable]) if usable.sum() > 1 else float("nan"),
        q=float("nan"),
        reason=f"too few patients, {config.min_patients:g} are needed: {', '.join(small)}" if small else "",
    )


def _effect(changes: np.ndarray, images: np.ndarray, is_usable: bool, config: EffectConfig) -> Estimate:
    measured = images > 0
    parts = np.stack([changes[measured], images[measured]], axis=1)
    if not is_usable:
        value = parts[:, 0].sum() / parts[:, 1].sum() if len(parts) else np.nan
        return Estimate(value=float(value), count=len(parts))
    resampled = resample(lambda s: s[..., :1] / s[..., 1:], parts, weights=parts[:, 1:], config=config.bootstrap)
    return resampled.estimates(config.level, len(parts))[0]


def _welch(changes: np.ndarray, images: np.ndarray) -> float:
    """P-value of equal means of g groups, from sums [P, g]; with one image per patient it is Welch's test (1951)."""
    means = changes.sum(axis=0) / images.sum(axis=0)
    patients = np.count_nonzero(images, axis=0)
    # Each group's error has its own factor for its number of patients, as Welch's has.
    influence = (changes - means * images) / images.sum(axis=0) * np.sqrt(patients / (patients - 1))
    covariance = influence.T @ influence
    contrast = np.eye(len(means))[1:] - np.eye(len(means))[0]
    between = contrast @ covariance @ contrast.T
    if np.linalg.matrix_rank(between, hermitian=True) != len(between):
        return float("nan")
    gap = contrast @ means
    statistic = gap @ np.linalg.solve(between, gap) / len(gap)
    weights = 1 / np.diag(covariance)
    lost = np.sum((1 - weights / weights.sum()) ** 2 / (effective_sample_size(images) - 1)) / (len(means) ** 2 - 1)
    return float(stats.f.sf(statistic / (1 + 2 * (len(means) - 2) * lost), len(gap), 1 / (3 * lost)))
