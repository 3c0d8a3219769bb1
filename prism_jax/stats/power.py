"""How many patients an audit needs for which effect: the noncentral t of a mean of patients' means."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import special

from prism_jax.stats.effects import Row

MOST = 10_000_000  # patients


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
    """How much changes vary by themselves."""

    sd: float  # of one image's change
    icc: float  # share of its variance that images of a patient have in common, 0 to 1

    def of_patient(self, images: int) -> float:
        """Sd of the mean change of a patient with so many images."""
        return self.sd * np.sqrt((1 + (images - 1) * self.icc) / images)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Needed:
    """Patients for one effect."""

    effect: float  # in the unit of the changes
    images: int  # of each patient
    patients: int
    power: float  # that so many have


def observed(row: Row, column: int) -> Noise:
    """Noise of a column: the analysis of variance with patients as groups; an icc below 0 by chance counts as 0.

    Raises:
      ValueError: fewer than two patients.
    """
    known = ~np.isnan(row.changes[:, column])
    values = row.changes[known, column]
    owner = np.unique(row.patients[known], return_inverse=True)[1]
    counts = np.bincount(owner)
    if len(counts) < 2:
        raise ValueError(f"{len(counts)} patient tells nothing of how patients differ; 2 or more are needed")
    means = np.bincount(owner, values) / counts
    between = np.sum(counts * (means - values.mean()) ** 2) / (len(counts) - 1)
    repeats = len(values) - len(counts)
    if not repeats:
        return Noise(sd=float(np.sqrt(between)), icc=0.0)
    within = np.sum((values - means[owner]) ** 2) / repeats
    typical = (len(values) - np.sum(counts**2) / len(values)) / (len(counts) - 1)
    shared = max((between - within) / typical, 0.0)
    return Noise(sd=float(np.sqrt(shared + within)), icc=float(shared / (shared + within)) if shared else 0.0)


def power(effect: float, patients: int, noise: Noise, *, images: int = 1, alpha: float = 0.05) -> float:
    """The chance that a two-sided t-test at `alpha` over patients finds a mean change of `effect`."""
    shift = np.sqrt(patients) * effect / noise.of_patient(images)
    bound = special.stdtrit(patients - 1, 1 - alpha / 2)
    right, wrong = special.nctdtr(patients - 1, [-abs(shift), abs(shift)], -bound)
    return float(right + np.nan_to_num(wrong))  # scipy has NaN for some chances of the wrong sign that are below 1e-16


def patients_needed(
    effect: float, noise: Noise, *, images: int = 1, alpha: float = 0.05, wanted: float = 0.8, cells: int = 1
) -> Needed:
    """The fewest patients that find `effect` with power `wanted`.

    With `cells` tested together, `alpha` is shared among them: what Benjamini-Hochberg asks of a lone effect.

    Raises:
      ValueError: an effect or noise of 0, a power that is no share, or more patients than there are.
    """
    if not (effect and noise.sd > 0 and alpha < wanted < 1):
        raise ValueError(f"effect {effect}, sd {noise.sd}, power {wanted}: effect and sd must not be 0, power below 1")
    reached = lambda patients: power(effect, patients, noise, images=images, alpha=alpha / cells)
    high = 2
    while reached(high) < wanted:
        if high > MOST:
            raise ValueError(f"an effect of {effect:g} with sd {noise.sd:g} needs over {MOST:,} patients; ask for more")
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= wanted else (middle, high)
    patients = max(high, 2)
    return Needed(effect=effect, images=images, patients=patients, power=reached(patients))


def table(
    effects: Sequence[float], noise: Noise, *, images: Sequence[int] = (1, 2, 4), **options
) -> tuple[Needed, ...]:
    """`patients_needed` for every effect and number of images of a patient."""
    return tuple(patients_needed(effect, noise, images=count, **options) for effect in effects for count in images)
