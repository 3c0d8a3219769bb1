"""Pairwise association of attributes with cluster-robust intervals: several rows may come from one patient.

Intervals are analytic. The influence of each row on the statistic is summed over the rows of a patient, and the
patients are taken as independent (the cluster-robust delta method: Liang & Zeger 1986): on Fisher's scale for
correlations, on the log scale for odds ratios, with Student's t over the number of patients. With one row per
patient the interval of the odds ratio is Woolf's.
"""

import dataclasses

import numpy as np
from scipy import stats

from prism_jax.stats.intervals import NO_ESTIMATE, Estimate, wilson

COLLINEAR = 1e-8  # fraction of a column's variance below which a residual is rounding error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Correlation:
    """A correlation with its interval, and the p-value of it being 0."""

    estimate: Estimate  # count: patients
    p: float  # two-sided; NaN where nothing could be estimated


NO_CORRELATION = Correlation(estimate=NO_ESTIMATE, p=float("nan"))


def correlation(
    x: np.ndarray,
    y: np.ndarray,
    patients: np.ndarray,
    covariates: np.ndarray | None = None,
    *,
    level: float = 0.95,
) -> Correlation:
    """Pearson's correlation of `x` and `y` [n]; for two columns of 0 and 1 that is phi.

    `patients` int [n] numbers the patient of each row. With `covariates` [n, q] it is the partial correlation:
    that of the residuals of both after linear regression on the covariates. NaN where a column is constant or
    a linear function of the covariates, or where there are not more patients than terms.
    """
    x, y = (np.asarray(column, np.float64) for column in (x, y))
    covariates = np.empty((len(x), 0)) if covariates is None else np.asarray(covariates, np.float64)
    owner, count = _numbered(patients)
    terms = covariates.shape[1] + 1  # and the mean
    if count <= terms + 1:
        return NO_CORRELATION
    residuals = _residuals(np.stack([x, y], 1), covariates)
    variance = residuals.var(axis=0)
    if (variance <= COLLINEAR * np.maximum(np.stack([x, y], 1).var(axis=0), np.finfo(float).tiny)).any():
        return NO_CORRELATION
    a, b = (residuals / np.sqrt(variance)).T
    r = float(np.clip(np.mean(a * b), -1, 1))
    influence = a * b - r / 2 * (a**2 + b**2)
    error = np.sqrt(_clustered(influence, owner, count) * (len(x) - 1) / (len(x) - terms)) / len(x)
    if 1 - abs(r) < COLLINEAR:
        return Correlation(estimate=Estimate(value=r, low=r, high=r, count=count), p=0.0)
    dof, z = count - terms - 1, np.arctanh(r)
    # Columns that are rarely 1 together underestimate the error: it is never below that of normal columns.
    error = max(error / (1 - r**2), (len(x) - terms - 1) ** -0.5)
    half = stats.t.ppf((1 + level) / 2, dof) * error
    low, high = np.tanh([z - half, z + half])
    p = 2 * stats.t.sf(abs(z) / error, dof)
    return Correlation(estimate=Estimate(value=r, low=float(low), high=float(high), count=count), p=float(p))


def odds_ratio(x: np.ndarray, y: np.ndarray, patients: np.ndarray, *, level: float = 0.95) -> Estimate:
    """Odds of `y` where `x` is 1 over those where it is 0; both [n] of 0 and 1; `count` is that of patients.

    Where a cell of the two-by-two table is empty, one half is added to each (Haldane, Anscombe).
    """
    cell = 2 * np.asarray(x, np.int64) + np.asarray(y, np.int64)
    owner, count = _numbered(patients)
    cells = np.bincount(cell, minlength=4).astype(np.float64)  # neither, y only, x only, both
    if count < 3 or not (cells[:2].sum() and cells[2:].sum() and cells[::2].sum() and cells[1::2].sum()):
        return NO_ESTIMATE
    if not cells.all():
        cells += 0.5
    sign = np.array([1, -1, -1, 1])
    influence = (sign / cells)[cell]
    influence -= influence.mean()
    # Design effect: variance with clustered rows over that with independent rows.
    effect = _clustered(influence, owner, count) / np.sum(influence**2)
    logarithm = float(sign @ np.log(cells))
    half = stats.t.ppf((1 + level) / 2, count - 1) * np.sqrt(np.sum(1 / cells) * effect)
    value, low, high = np.exp([logarithm, logarithm - half, logarithm + half])
    return Estimate(value=float(value), low=float(low), high=float(high), count=count)


def clustered_proportion(hits: np.ndarray, patients: np.ndarray) -> Estimate:
    """The proportion of `hits` (bool [n]) with Wilson's interval for the effective number of rows.

    That is the number of rows over the design effect (at least 1); where all rows are equal, the number of patients.
    `count` is the number of patients.
    """
    hits = np.asarray(hits, np.float64)
    owner, count = _numbered(patients)
    if not count:
        return NO_ESTIMATE
    value = hits.mean()
    effective = float(count)
    if 0 < value < 1 and count > 1:
        effect = _clustered(hits - value, owner, count) / (len(hits) * value * (1 - value))
        effective = float(len(hits) / max(effect, 1.0))
    interval = wilson(value * effective, effective)
    return dataclasses.replace(interval, value=float(value), count=count)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's (1979) adjusted p-values [n], valid under any dependence; NaN stays NaN and is not counted.

    Testing them at 0.05 keeps the family-wise error rate at 5 %.
    """
    p = np.asarray(p, np.float64)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]  # NaN sorts to the end
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return adjusted


def _numbered(patients: np.ndarray) -> tuple[np.ndarray, int]:
    """(Index from 0 of each row's patient, number of patients)."""
    names, owner = np.unique(patients, return_inverse=True)
    return owner, len(names)


def _clustered(influence: np.ndarray, owner: np.ndarray, count: int) -> float:
    """Cluster-robust variance of the sum of `influence`, mean 0: patients are independent, their rows are not."""
    return float(np.sum(np.bincount(owner, influence, count) ** 2) * count / (count - 1))


def _residuals(columns: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """Residuals of `columns` [n, 2] after regression on a constant and the covariates [n, q]."""
    columns = columns - columns.mean(axis=0)
    if not covariates.shape[1]:
        return columns
    design = covariates - covariates.mean(axis=0)
    return columns - design @ np.linalg.lstsq(design, columns, rcond=None)[0]
