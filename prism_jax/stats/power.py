"""Sample size of an audit: patients needed to detect an effect, by the noncentral t of a mean over patients."""

import bisect
import dataclasses

import numpy as np
from scipy import special

from prism_jax.stats.effects import Row

MAX_PATIENTS = 10_000_000  # patients
POWER = 0.8  # of a sample size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variability:
    """Variance components of the changes."""

    std: float  # of one image's change
    icc: float  # intraclass correlation of images of a patient, 0 to 1

    def patient_std(self, images: int) -> float:
        """Std of the mean change of a patient with this many images."""
        return self.std * np.sqrt((1 + (images - 1) * self.icc) / images)


def variance_components(row: Row, column: int) -> Variability:
    """Variance components of a column by one-way ANOVA with patients as groups; a negative ICC counts as 0.

    Raises:
      ValueError: fewer than two patients.
    """
    measured = ~np.isnan(row.changes[:, column])
    values = row.changes[measured, column]
    owner = np.unique(row.patients[measured], return_inverse=True)[1]
    counts = np.bincount(owner)
    if len(counts) < 2:
        raise ValueError(f"the variance between patients needs two patients or more, got {len(counts)}")
    means = np.bincount(owner, values) / counts
    between = np.sum(counts * (means - values.mean()) ** 2) / (len(counts) - 1)
    repeats = len(values) - len(counts)
    if not repeats:
        return Variability(std=float(np.sqrt(between)), icc=0.0)
    within = np.sum((values - means[owner]) ** 2) / repeats
    typical = (len(values) - np.sum(counts**2) / len(values)) / (len(counts) - 1)
    shared = max((between - within) / typical, 0.0)
    return Variability(std=float(np.sqrt(shared + within)), icc=float(shared / (shared + within)) if shared else 0.0)


def power(effect: float, patients: int, noise: Variability, *, images: int = 1, alpha: float = 0.05) -> float:
    """Power of a two-sided t-test over patients at `alpha` for a mean change of `effect`."""
    shift = np.sqrt(patients) * effect / noise.patient_std(images)
    bound = special.stdtrit(patients - 1, 1 - alpha / 2)
    right, wrong = special.nctdtr(patients - 1, [-abs(shift), abs(shift)], -bound)
    return float(right + np.nan_to_num(wrong))  # scipy gives NaN for some probabilities of the wrong sign below 1e-16


def required_patients(
    effect: float,
    noise: Variability,
    *,
    images: int = 1,
    alpha: float = 0.05,
    cells: int = 1,
) -> int:
    """The smallest number of patients, with `images` of each, that detect `effect` with a power of 80 %.

    With `cells` tested together, `alpha` is divided by their number: the Benjamini-Hochberg threshold of a lone effect.

    Raises:
      ValueError: an effect or std of 0, an alpha of POWER or more, or more than MAX_PATIENTS patients.
    """
    if not (effect and noise.std > 0 and alpha < POWER):
        raise ValueError(f"effect {effect} and std {noise.std} must not be 0, alpha {alpha} must be below {POWER}")
    reached = lambda patients: power(effect, patients, noise, images=images, alpha=alpha / cells)
    patients = bisect.bisect_left(range(MAX_PATIENTS + 1), POWER, lo=2, key=reached)
    if patients > MAX_PATIENTS:
        raise ValueError(
            f"effect {effect:g} with std {noise.std:g} needs over {MAX_PATIENTS:,} patients; use a larger effect"
        )
    return patients
