"""Pairwise associations of attributes: correlation and odds ratio, adjusted and not, with Holm-corrected p-values."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from tqdm import tqdm

from prism_jax.data_report.variables import Variable
from prism_jax.stats import associations
from prism_jax.stats.associations import NO_CORRELATION
from prism_jax.stats.intervals import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Association:
    """Association of two attributes over the images where both are known.

    `count` of the estimates is the number of patients. Numbers that cannot be estimated are NaN, with count 0, and
    `reason` says why. The p-values are Holm's, over all pairs of the survey.
    """

    first: str
    second: str
    kinds: tuple[str, str]  # "finding", "view", "sex", "race", "age" or "burned-in text"
    images: int
    cells: tuple[int, int, int, int] | None  # images with both, first only, second only, neither; None with ages
    odds_ratio: Estimate  # NaN with ages
    correlation: Estimate  # Pearson's; phi for two binary attributes
    p: float
    is_significant: bool
    adjusted_for: tuple[str, ...]  # covariates that are neither in the pair nor mostly unknown
    adjusted_images: int  # with known covariates
    adjusted: Estimate  # partial correlation
    adjusted_p: float
    is_significant_adjusted: bool
    reason: str = ""


def pairs(variables: Sequence[Variable]) -> list[tuple[Variable, Variable]]:
    """All pairs of variables except two values of one attribute (two views, two races), which exclude each other."""
    return [
        (first, second)
        for first, second in itertools.combinations(variables, 2)
        if first.kind != second.kind or first.kind == "finding"
    ]


def measure_all(
    variables: Sequence[Variable],
    covariates: Mapping[str, np.ndarray],
    patients: np.ndarray,
    *,
    level: float = 0.95,
    min_patients: int = 10,
    adjust: Sequence[str] = ("view", "age", "sex"),
) -> tuple[Association, ...]:
    """The associations of all pairs; `patients` int [n] numbers the patient of each image.

    `level`, `min_patients` and `adjust` as in `survey.SurveyConfig`. Progress is shown on stderr.
    """
    measured = [
        _measure(first, second, covariates, patients, level, min_patients, adjust)
        for first, second in tqdm(pairs(variables), unit="pair", desc="comparing attributes")
    ]
    alpha = 1 - level
    plain, adjusted = (
        associations.holm(np.array([getattr(pair, name) for pair in measured])) for name in ("p", "adjusted_p")
    )
    return tuple(
        dataclasses.replace(
            pair,
            p=float(p),
            is_significant=bool(p <= alpha),
            adjusted_p=float(adjusted_p),
            is_significant_adjusted=bool(adjusted_p <= alpha),
        )
        for pair, p, adjusted_p in zip(measured, plain, adjusted, strict=True)
    )


def _measure(
    first: Variable,
    second: Variable,
    covariates: Mapping[str, np.ndarray],
    patients: np.ndarray,
    level: float,
    min_patients: int,
    adjust: Sequence[str],
) -> Association:
    known = ~np.isnan(first.values) & ~np.isnan(second.values)
    reason = _too_few(first, second, known, patients, min_patients)
    plain, ratio, adjusted = NO_CORRELATION, associations.NO_ESTIMATE, NO_CORRELATION
    names, rows = (), known
    x, y = first.values, second.values
    if not reason:
        plain = associations.correlation(x[known], y[known], patients[known], level=level)
        names, rows = _usable_covariates(first, second, covariates, known, adjust)
        if not _too_few(first, second, rows, patients, min_patients):
            columns = np.concatenate([np.empty((len(x), 0)), *(covariates[name] for name in names)], axis=1)[rows]
            adjusted = associations.correlation(x[rows], y[rows], patients[rows], columns, level=level)
    cells = None
    if first.is_binary and second.is_binary:
        cells = _cells(x[known], y[known])
        ratio = ratio if reason else associations.odds_ratio(x[known], y[known], patients[known], level=level)
    return Association(
        first=first.name,
        second=second.name,
        kinds=(first.kind, second.kind),
        images=int(known.sum()),
        cells=cells,
        odds_ratio=ratio,
        correlation=plain.estimate,
        p=plain.p,
        is_significant=False,  # set once Holm's correction knows all pairs
        adjusted_for=names,
        adjusted_images=int(rows.sum()) if adjusted.estimate.count else 0,
        adjusted=adjusted.estimate,
        adjusted_p=adjusted.p,
        is_significant_adjusted=False,
        reason=reason,
    )


def _usable_covariates(
    first: Variable, second: Variable, covariates: Mapping[str, np.ndarray], known: np.ndarray, adjust: Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """(Names of the covariates to adjust for, bool [n] rows where they are known too)."""
    names, rows = [], known
    for name in adjust:
        columns = covariates[name]
        given = known & ~np.isnan(columns).any(axis=1)
        varies = columns.shape[1] and given.any() and np.ptp(columns[given], axis=0).any()
        if name not in (first.kind, second.kind) and varies and 2 * given.sum() >= known.sum():
            names.append(name)
            rows = rows & given
    return tuple(names), rows


def _too_few(first: Variable, second: Variable, rows: np.ndarray, patients: np.ndarray, min_patients: int) -> str:
    """The reason why these rows have too few patients for the pair; "" if they have enough."""
    for variable in (first, second):
        values, owner = variable.values[rows], patients[rows]
        if not variable.is_binary:
            if len(np.unique(owner)) < 2 * min_patients:
                return f"{variable.name} is known for {len(np.unique(owner))} patients; {2 * min_patients} are needed"
            continue
        having, lacking = (len(np.unique(owner[values == value])) for value in (1, 0))
        if min(having, lacking) < min_patients:
            return f"{variable.name}: {having} patients with it, {lacking} without; {min_patients} of each are needed"
    return ""


def _cells(x: np.ndarray, y: np.ndarray) -> tuple[int, int, int, int]:
    neither, second, first, both = np.bincount((2 * x + y).astype(int), minlength=4)
    return int(both), int(first), int(second), int(neither)
