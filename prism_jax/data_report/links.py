"""Which attributes of a data set go together: every pair, with and without adjustment, held against chance."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from prism_jax.data_report.variables import Variable
from prism_jax.stats import associations
from prism_jax.stats.associations import NO_CORRELATION
from prism_jax.stats.intervals import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinkConfig:
    """How pairs are judged."""

    level: float = 0.95  # of the intervals; a link is called one at 1 - level, after Holm's correction
    fewest: int = 10  # patients that must have each value of a pair's attributes
    adjust: tuple[str, ...] = ("view", "age", "sex")

    def __post_init__(self):
        if not 0 < self.level < 1:
            raise ValueError(f"level {self.level} is not between 0 and 1; 0.95 is common")
        if self.fewest < 2:
            raise ValueError(f"fewest {self.fewest} patients tell nothing; use 2 or more")
        if unknown := sorted(set(self.adjust) - {"view", "age", "sex"}):
            raise ValueError(f"cannot adjust for {', '.join(unknown)}; adjust for any of view, age, sex")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Association:
    """Two attributes and how they go together in the images where both are known.

    `count` of the estimates is the number of patients. Numbers that cannot be estimated are NaN, with count 0, and
    `reason` says why. The p-values are Holm's, over all pairs of the survey.
    """

    first: str
    second: str
    kinds: tuple[str, str]  # "finding", "view", "sex", "race", "age" or "mark"
    images: int
    cells: tuple[int, int, int, int] | None  # images with both, first only, second only, neither; None with ages
    odds_ratio: Estimate  # NaN with ages
    correlation: Estimate  # Pearson's; phi where both are yes or no
    p: float
    is_linked: bool
    adjusted_for: tuple[str, ...]  # of view, age and sex, those that are neither in the pair nor mostly unknown
    adjusted_images: int  # where these are known too
    adjusted: Estimate  # partial correlation
    adjusted_p: float
    is_linked_adjusted: bool
    reason: str = ""


def pairs(variables: Sequence[Variable]) -> list[tuple[Variable, Variable]]:
    """All pairs of variables, but for two of one view, race or the like, which exclude each other."""
    return [
        (first, second)
        for first, second in itertools.combinations(variables, 2)
        if first.kind != second.kind or first.kind == "finding"
    ]


def links(
    variables: Sequence[Variable],
    covariates: Mapping[str, np.ndarray],
    patients: np.ndarray,
    config: LinkConfig,
    progress: Callable[[], object] = lambda: None,
) -> tuple[Association, ...]:
    """The associations of all pairs; `patients` int [n] numbers the patient of each image."""
    measured = []
    for first, second in pairs(variables):
        measured.append(_measure(first, second, covariates, patients, config))
        progress()
    alpha = 1 - config.level
    plain, adjusted = (
        associations.holm(np.array([getattr(one, name) for one in measured])) for name in ("p", "adjusted_p")
    )
    return tuple(
        dataclasses.replace(
            one, p=float(p), is_linked=bool(p <= alpha), adjusted_p=float(q), is_linked_adjusted=bool(q <= alpha)
        )
        for one, p, q in zip(measured, plain, adjusted, strict=True)
    )


def _measure(
    first: Variable, second: Variable, covariates: Mapping[str, np.ndarray], patients: np.ndarray, config: LinkConfig
) -> Association:
    known = ~np.isnan(first.values) & ~np.isnan(second.values)
    reason = _too_few(first, second, known, patients, config.fewest)
    plain, ratio, adjusted = NO_CORRELATION, associations.NO_ESTIMATE, NO_CORRELATION
    names, rows = (), known
    x, y = first.values, second.values
    if not reason:
        plain = associations.correlation(x[known], y[known], patients[known], level=config.level)
        names, rows = _adjusters(first, second, covariates, known, config)
        if not _too_few(first, second, rows, patients, config.fewest):
            columns = np.concatenate([np.empty((len(x), 0)), *(covariates[name] for name in names)], axis=1)[rows]
            adjusted = associations.correlation(x[rows], y[rows], patients[rows], columns, level=config.level)
    cells = None
    if first.is_binary and second.is_binary:
        cells = _cells(x[known], y[known])
        ratio = ratio if reason else associations.odds_ratio(x[known], y[known], patients[known], level=config.level)
    return Association(
        first=first.name,
        second=second.name,
        kinds=(first.kind, second.kind),
        images=int(known.sum()),
        cells=cells,
        odds_ratio=ratio,
        correlation=plain.estimate,
        p=plain.p,
        is_linked=False,  # known when all pairs are
        adjusted_for=names,
        adjusted_images=int(rows.sum()) if adjusted.estimate.count else 0,
        adjusted=adjusted.estimate,
        adjusted_p=adjusted.p,
        is_linked_adjusted=False,
        reason=reason,
    )


def _adjusters(
    first: Variable, second: Variable, covariates: Mapping[str, np.ndarray], known: np.ndarray, config: LinkConfig
) -> tuple[tuple[str, ...], np.ndarray]:
    """(Names of what to adjust for, bool [n] rows where all of it is known too)."""
    names, rows = [], known
    for name in config.adjust:
        columns = covariates[name]
        given = known & ~np.isnan(columns).any(axis=1)
        varies = columns.shape[1] and given.any() and np.ptp(columns[given], axis=0).any()
        if name not in (first.kind, second.kind) and varies and 2 * given.sum() >= known.sum():
            names.append(name)
            rows = rows & given
    return tuple(names), rows


def _too_few(first: Variable, second: Variable, rows: np.ndarray, patients: np.ndarray, fewest: int) -> str:
    """Why these rows say nothing about the pair; "" if they do."""
    for variable in (first, second):
        values, owner = variable.values[rows], patients[rows]
        if not variable.is_binary:
            if len(np.unique(owner)) < 2 * fewest:
                return f"{variable.name} is known of {len(np.unique(owner))} patients; {2 * fewest} are needed"
            continue
        having, lacking = (len(np.unique(owner[values == value])) for value in (1, 0))
        if min(having, lacking) < fewest:
            return f"{variable.name}: {having} patients with it, {lacking} without; {fewest} of each are needed"
    return ""


def _cells(x: np.ndarray, y: np.ndarray) -> tuple[int, int, int, int]:
    neither, second, first, both = np.bincount((2 * x + y).astype(int), minlength=4)
    return int(both), int(first), int(second), int(neither)
