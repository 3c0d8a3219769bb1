"""A number with its count and interval: percentile bootstrap over subjects, Wilson score for shares."""

import dataclasses
from collections.abc import Callable, Iterator
from statistics import NormalDist

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is reported: `value`, its interval [low, high], `count` of subjects; NaN where there are none."""

    value: float
    low: float
    high: float
    count: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class BootstrapConfig:
    """How intervals are made. The fixed seed makes a report a function of its inputs."""

    resamples: int = 2000
    level: float = 0.95
    seed: int = 0


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
    known = ~np.any([np.isnan(column) for column in columns], axis=0)
    columns, subjects = [column[known] for column in columns], subjects[known]
    names, owner = np.unique(subjects, return_inverse=True)
    if not len(names):
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), count=0)
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
    """The share `hits / count` with its score interval (Wilson 1927), which stays honest near 0 and 1."""
    if not 0 <= hits <= count:
        raise ValueError(f"{hits} hits of {count} are not a share; hits must lie between 0 and the count")
    if not count:
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), count=0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = hits / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    # At 0 and 1 the bound is exact; rounding must not put it on the wrong side of the share.
    return Estimate(
        value=share, low=max(min(centre - half, share), 0.0), high=min(max(centre + half, share), 1.0), count=count
    )
