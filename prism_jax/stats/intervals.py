"""A number with its count and interval: bootstrap or jackknife over subjects, Wilson score for proportions."""

import dataclasses
from collections.abc import Callable, Iterator
from statistics import NormalDist

import numpy as np
from scipy import stats


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A reported number: `value`, its interval [low, high], `count` of subjects; NaN where there are none."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
    count: int


NO_ESTIMATE = Estimate(value=float("nan"), count=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BootstrapConfig:
    """Options of a bootstrap. The same inputs always give the same interval."""

    resamples: int = 2000
    """Number of bootstrap resamples."""
    level: float = 0.95
    """Confidence level."""
    seed: int = 0
    """Seed of the resamples."""


def bootstrap(
    statistic: Callable[..., float],
    *columns: np.ndarray,
    subjects: np.ndarray | None = None,
    config: BootstrapConfig | None = None,
) -> Estimate:
    """Value and percentile bootstrap interval of `statistic(*columns)`, resampling subjects with replacement.

    `columns` are arrays [n] whose rows belong together; a row with a NaN in any of them is left out and not
    counted. `subjects` [n] names the subject of each row: all rows of a subject are drawn together, and
    `count` is the number of subjects. Without it every row is a subject. Resamples whose statistic is NaN do
    not enter the interval.
    """
    config = config or BootstrapConfig()
    columns = tuple(np.asarray(column, np.float64) for column in columns)
    subjects = np.arange(len(columns[0])) if subjects is None else np.asarray(subjects)
    lengths = [len(column) for column in (*columns, subjects)]
    if len(set(lengths)) > 1:
        raise ValueError(f"columns and subjects have lengths {lengths}; one row per image is needed in each")
    is_valid = ~np.any([np.isnan(column) for column in columns], axis=0)
    columns, subjects = [column[is_valid] for column in columns], subjects[is_valid]
    names, owner = np.unique(subjects, return_inverse=True)
    if not len(names):
        return NO_ESTIMATE
    draws = [statistic(*(column[rows] for column in columns)) for rows in _resamples(owner, len(names), config)]
    low, high = np.nanquantile(draws, [(1 - config.level) / 2, (1 + config.level) / 2])
    return Estimate(value=float(statistic(*columns)), low=float(low), high=float(high), count=len(names))


def _resamples(owner: np.ndarray, count: int, config: BootstrapConfig) -> Iterator[np.ndarray]:
    """Row indices of each resample; `owner` [n] is the index of each row's subject."""
    rng = np.random.default_rng(config.seed)
    rows = np.argsort(owner, kind="stable")
    if len(owner) == count:  # one row per subject
        yield from (rows[rng.integers(count, size=count)] for _ in range(config.resamples))
        return
    rows_of = np.split(rows, np.cumsum(np.bincount(owner, minlength=count))[:-1])
    for _ in range(config.resamples):
        yield np.concatenate([rows_of[subject] for subject in rng.integers(count, size=count)])


def wilson(hits: float, count: float, *, level: float = 0.95) -> Estimate:
    """The proportion `hits / count` with its score interval (Wilson 1927), which keeps its coverage near 0 and 1."""
    if not 0 <= hits <= count:
        raise ValueError(f"{hits} hits of {count} are not a proportion; hits must lie between 0 and the count")
    if not count:
        return NO_ESTIMATE
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = hits / count
    centre = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (p * (1 - p) / count + z**2 / (4 * count**2)) ** 0.5
    # At 0 and 1 the bound is exact; rounding must not put it on the wrong side of the proportion.
    return Estimate(value=p, low=max(min(centre - half, p), 0.0), high=min(max(centre + half, p), 1.0), count=count)


def proportion(hits: np.ndarray, *, subjects: np.ndarray | None = None, level: float = 0.95) -> Estimate:
    """The mean over subjects of each one's proportion of `hits` [n], with Wilson's interval; `count` subjects.

    `hits` are 0, 1 or NaN, which is left out; `subjects` [n] names each row's subject, every row its own by default.
    All rows of a subject count as one trial, so the interval is conservative.
    """
    hits = np.asarray(hits, np.float64)
    subjects = np.arange(len(hits)) if subjects is None else np.asarray(subjects)
    if len(hits) != len(subjects):
        raise ValueError(f"{len(hits)} hits of {len(subjects)} subjects; name the subject of every row")
    known = ~np.isnan(hits)
    names, owner = np.unique(subjects[known], return_inverse=True)
    rows = np.bincount(owner, minlength=len(names))
    means = np.bincount(owner, weights=hits[known], minlength=len(names)) / rows
    return wilson(min(float(means.sum()), len(names)), len(names), level=level)


def delete_group(value: float, *samples: np.ndarray, count: int, level: float = 0.95) -> Estimate:
    """`value` with a delete-a-group jackknife interval: one group of subjects left out at a time (Kott 2001).

    For statistics that a bootstrap's repeated rows would distort. `samples` are, for each independent set of subjects,
    the statistic without each of its groups [g]; Student's interval with the degrees of the smallest set. NaN bounds
    where a set has fewer than two groups.
    """
    sizes = [len(sample) for sample in samples]
    if min(sizes) < 2:
        return Estimate(value=value, count=count)
    variance = sum((g - 1) / g * np.sum((s - np.mean(s)) ** 2) for g, s in zip(sizes, samples, strict=True))
    half = float(stats.t.ppf((1 + level) / 2, min(sizes) - 1) * np.sqrt(variance))
    return Estimate(value=value, low=value - half, high=value + half, count=count)


def student_t_mean(values: np.ndarray, *, level: float) -> Estimate:
    """Mean of independent `values` [k] with Student's interval; NaN bounds for a single one."""
    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return Estimate(value=mean, count=count)
    half = float(stats.t.ppf((1 + level) / 2, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return Estimate(value=mean, low=mean - half, high=mean + half, count=count)
