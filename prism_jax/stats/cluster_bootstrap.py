"""Cluster bootstrap: BCa and jackknife intervals of any smooth function of sums over patients.

Patients are resampled whole. Each patient's contribution to the sums is computed once; a resample is then a row of
counts times that matrix, so thousands of resamples of hundreds of cells are one product.

The interval is the hull of two: BCa (Efron 1987) with its normal quantiles widened to Student's (Hesterberg 2015,
"expanded"), and Student's t with the jackknife's standard error. With 10 to 40 patients BCa alone covers the true value
in 80 to 93 % of cases, t alone in 91 to 94 % where changes are skewed; each covers where the other fails, and the hull
is little wider than the wider of the two (coverage table in the audit's documentation). Degrees of freedom come from
Kish's effective sample size, (Σ weights)² / Σ weights², so that one patient with half of the images is not counted as
many patients.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from scipy import special

from prism_jax.stats.intervals import BootstrapConfig, Estimate

MAX_UNDEFINED = 0.05  # fraction of resamples in which a ratio may divide by 0 before it has no interval
BLOCK = 2**22  # numbers held at a time

Statistic = Callable[[np.ndarray], np.ndarray]  # sums over patients [..., k] -> statistics [..., c]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resampled:
    """Bootstrap and jackknife over patients of c statistics."""

    value: np.ndarray  # [c]
    standard_error: np.ndarray  # [c] by the jackknife
    dof: np.ndarray  # [c] degrees of freedom
    bias: np.ndarray  # [c] of BCa: the normal quantile of the fraction of draws below the value
    acceleration: np.ndarray  # [c] of BCa
    draws: np.ndarray  # [resamples, c] ascending in each column, undefined ones last

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """(low [c], high [c]); NaN with fewer than two patients, or where too many resamples are undefined."""
        (low, high), (lowest, highest) = self.bca(level), self.student(level)
        return np.minimum(low, lowest), np.maximum(high, highest)

    def bca(self, level: float, *, is_expanded: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """(low [c], high [c]) of BCa alone, with Student's quantiles (expanded) or, as in Efron 1987, normal ones."""
        z = special.ndtri((1 + level) / 2)
        if is_expanded:
            z = np.sqrt((self.dof + 1) / self.dof) * self._t(level)
        return self._quantile(self._corrected(-z)), self._quantile(self._corrected(z))

    def student(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """(low [c], high [c]) of Student's t with the jackknife's standard error."""
        half = self._t(level) * self.standard_error
        return self.value - half, self.value + half

    def estimates(self, level: float, count: int | np.ndarray) -> tuple[Estimate, ...]:
        """One `Estimate` per statistic; `count` is the number of patients."""
        counts = np.broadcast_to(count, self.value.shape)
        numbers = zip(self.value, *self.interval(level), counts, strict=True)
        return tuple(Estimate(value=float(v), low=float(a), high=float(b), count=int(n)) for v, a, b, n in numbers)

    def p(self) -> np.ndarray:
        """[c] Two-sided p-values of the statistic being 0, by the jackknife's t-test; 1 where nothing changed."""
        with np.errstate(divide="ignore", invalid="ignore"):
            p = 2 * special.stdtr(self.dof, -np.abs(self.value) / self.standard_error)
        return np.where((self.standard_error == 0) & (self.value == 0), 1.0, p)

    def _t(self, level: float) -> np.ndarray:
        return special.stdtrit(self.dof, (1 + level) / 2)

    def _corrected(self, z: np.ndarray) -> np.ndarray:
        """[c] The fraction of draws below the BCa bound whose normal quantile would be `z` (Efron 1987, eq. 3.9)."""
        moved = self.bias + z
        stretched = np.maximum(1 - self.acceleration * moved, np.finfo(float).eps)
        return special.ndtr(self.bias + moved / stretched)

    def _quantile(self, fraction: np.ndarray) -> np.ndarray:
        """[c] Quantiles of the draws, one fraction per column."""
        defined = _defined(self.draws)
        place = np.nan_to_num(fraction) * np.maximum(defined - 1, 0)
        below = place.astype(np.int64)
        above = np.minimum(below + 1, np.maximum(defined - 1, 0))
        first, second = (np.take_along_axis(self.draws, rows[None], axis=0)[0] for rows in (below, above))
        quantiles = first + (place - below) * (second - first)
        return np.where(defined >= (1 - MAX_UNDEFINED) * len(self.draws), quantiles, np.nan)


def resample(
    statistic: Statistic,
    parts: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    strata: np.ndarray | None = None,
    config: BootstrapConfig | None = None,
) -> Resampled:
    """The c statistics `statistic(parts.sum(0))` with their bootstrap and jackknife distributions.

    `parts` float [P, k] are the contributions of each patient to k sums. `weights` [P, c] are the weights of patients
    in each statistic (mostly their numbers of images); equal by default. Patients are resampled within their `strata`
    int [P], so that patients of another sample (the images a judge was tested on) never replace those of the first.

    Raises:
      ValueError: no patients.
    """
    config = config or BootstrapConfig()
    parts = np.asarray(parts, np.float64)
    if not len(parts):
        raise ValueError("0 patients cannot be resampled; leave out cells without measurements")
    strata = np.zeros(len(parts), np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
    members = [np.flatnonzero(strata == number) for number in range(strata.max() + 1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.asarray(statistic(parts.sum(axis=0)), np.float64)
        left_out = _without_each(statistic, parts)
        draws = np.concatenate([statistic(counts @ parts) for counts in _counts(members, config)])
    draws[~np.isfinite(draws)] = np.nan
    weights = np.ones((len(parts), 1)) if weights is None else np.asarray(weights, np.float64)
    standard_error, dof, acceleration = _jackknife(left_out, weights, members)
    return Resampled(
        value=value,
        standard_error=standard_error,
        dof=dof,
        bias=_bias(draws, value),
        acceleration=acceleration,
        draws=np.sort(draws, axis=0),
    )


def effective_sample_size(weights: np.ndarray) -> np.ndarray:
    """Kish's effective sample size [c] of patients with `weights` [P, c]: (Σ w)² / Σ w².

    The number of equally weighted patients with the same variance (Kish 1965), if images of a patient all agree.
    """
    squares = np.sum(weights**2, axis=0)
    return np.divide(np.sum(weights, axis=0) ** 2, squares, out=np.zeros(squares.shape), where=squares > 0)


def _bias(draws: np.ndarray, value: np.ndarray) -> np.ndarray:
    below = np.sum(draws < value, axis=0) + np.sum(draws == value, axis=0) / 2
    defined = np.maximum(_defined(draws), 1)
    return special.ndtri(np.clip(below / defined, 1 / (defined + 1), defined / (defined + 1)))


def _defined(draws: np.ndarray) -> np.ndarray:
    return len(draws) - np.sum(np.isnan(draws), axis=0)


def _counts(members: list[np.ndarray], config: BootstrapConfig) -> Iterator[np.ndarray]:
    """Blocks [b, P] of how often each patient is drawn."""
    rng = np.random.default_rng(config.seed)
    patients = sum(len(rows) for rows in members)
    step = max(1, BLOCK // patients)
    for start in range(0, config.resamples, step):
        size = min(step, config.resamples - start)
        counts = np.empty((size, patients))
        for rows in members:
            drawn = rng.integers(len(rows), size=(size, len(rows))) + len(rows) * np.arange(size)[:, None]
            counts[:, rows] = np.bincount(drawn.ravel(), minlength=size * len(rows)).reshape(size, -1)
        yield counts


def _without_each(statistic: Statistic, parts: np.ndarray) -> np.ndarray:
    """[P, c] The statistics with each patient left out."""
    total, step = parts.sum(axis=0), max(1, BLOCK // parts.shape[1])
    return np.concatenate([statistic(total - parts[i : i + step]) for i in range(0, len(parts), step)])


def _jackknife(
    left_out: np.ndarray, weights: np.ndarray, members: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """([c] standard error, [c] degrees of freedom by Welch and Satterthwaite, [c] acceleration), over all strata."""
    squares, cubes, variances, freedoms = 0.0, 0.0, [], []
    for rows in members:
        count = len(rows)
        with np.errstate(invalid="ignore"):
            influence = (count - 1) / count * (left_out[rows].mean(axis=0) - left_out[rows])  # [n, c]
        squares += np.sum(influence**2, axis=0)
        cubes += np.sum(influence**3, axis=0)
        variances.append(np.sum(influence**2, axis=0) * count / max(count - 1, 1))
        freedoms.append(effective_sample_size(weights[rows]) - 1 + 0 * variances[-1])
    variance = np.sum(variances, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        spent = np.sum(np.square(variances) / freedoms, axis=0)
        freedom = np.where(variance > 0, variance**2 / spent, np.sum(freedoms, axis=0))
        acceleration = np.where(squares > 0, cubes / (6 * squares**1.5), 0.0)
    usable = (freedom > 0) & np.isfinite(variance)
    return np.where(usable, np.sqrt(variance), np.nan), np.where(usable, freedom, np.nan), acceleration
