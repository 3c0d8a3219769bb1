"""Mean and covariance of features by groups of patients, and the Fréchet distance of two of them. float64, host."""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from prism_jax.stats.intervals import Estimate, delete_group

GROUPS = 20  # of patients, left out one by one for the interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moments:
    """Count, mean and scatter of feature vectors, by group of patients; a patient is always in the same group."""

    count: np.ndarray  # [g]
    mean: np.ndarray  # float64 [g, d]
    scatter: np.ndarray  # float64 [g, d, d], sums of products of deviations from the group's mean
    patients: frozenset[str]

    @classmethod
    def of(cls, features: np.ndarray, patients: Sequence, *, groups: int = GROUPS) -> "Moments":
        """The moments of a batch of features [b, d] of these patients [b].

        Raises:
          ValueError: counts that differ, features that are not finite.
        """
        features, names = np.asarray(features, np.float64), [str(patient) for patient in patients]
        if features.ndim != 2 or len(features) != len(names):
            raise ValueError(f"features {features.shape} of {len(names)} patients; give [b, d] and one patient a row")
        if not np.isfinite(features).all():
            raise ValueError("features are not finite; leave out the images that the network cannot read")
        group = np.array([zlib.crc32(name.encode()) % groups for name in names], np.int64)  # hash() varies by process
        parts = [features[group == g] for g in range(groups)]
        centred = [part - part.mean(0)[None] if len(part) else part for part in parts]
        return cls(
            count=np.array([len(part) for part in parts]),
            mean=np.stack([part.mean(0) if len(part) else np.zeros(features.shape[1]) for part in parts]),
            scatter=np.stack([part.T @ part for part in centred]),
            patients=frozenset(names),
        )

    def gaussian(self, *, without: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Mean [d] and covariance [d, d] (n - 1 in the denominator) of everything, or of all but one group.

        Raises:
          ValueError: fewer than two rows.
        """
        kept = np.arange(len(self.count)) != (-1 if without is None else without)
        count, means = self.count[kept], self.mean[kept]
        total = int(count.sum())
        if total < 2:
            raise ValueError(f"{total} feature vectors have no covariance; give 2 or more")
        mean = count @ means / total
        apart = means - mean[None]
        between = (apart * count[:, None]).T @ apart
        return mean, (sum(self.scatter[kept]) + between) / (total - 1)


def frechet_distance(
    mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray, root_a: np.ndarray | None = None
) -> float:
    """|m_a - m_b|^2 + tr(A + B - 2 (A B)^(1/2)) (Dowson and Landau 1982; FID: Heusel et al. 2017, eq. 6).

    `root_a` is A^(1/2) where it is known: it takes most of the time. (A B)^(1/2) has the trace of
    (A^(1/2) B A^(1/2))^(1/2), whose eigenvalues are real and not negative even where there are fewer images than
    features. `sqrtm` of A B has neither there.
    """
    root_a = _root(cov_a) if root_a is None else root_a
    squares = np.linalg.eigvalsh(root_a @ cov_b @ root_a)
    overlap = np.sqrt(np.maximum(squares, 0.0)).sum()
    return float(np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a) + np.trace(cov_b) - 2.0 * overlap)


def frechet(real: Moments, generated: Moments, *, level: float = 0.95) -> Estimate:
    """The Fréchet distance, counted in patients of `generated`; NaN where either has fewer than two rows.

    It is biased upwards, the more the fewer the images: compare equal counts only. The interval is that of leaving out
    a group of patients at a time. Bootstrap resamples hold fewer different images and are all too far away.
    """
    if min(real.count.sum(), generated.count.sum()) < 2:
        return Estimate(value=np.nan, count=len(generated.patients))
    samples = [_without_each(generated, *real.gaussian()), _without_each(real, *generated.gaussian())]
    value = frechet_distance(*real.gaussian(), *generated.gaussian())
    return delete_group(value, *samples, count=len(generated.patients), level=level)


def _without_each(state: Moments, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """The distance of a Gaussian from `state` without each of its groups of patients in turn."""
    root, total = _root(cov), state.count.sum()
    used = [g for g, count in enumerate(state.count) if 0 < count < total - 1]
    return np.array([frechet_distance(mean, cov, *state.gaussian(without=g), root) for g in used])


def _root(cov: np.ndarray) -> np.ndarray:
    """The symmetric square root of a covariance; eigenvalues that rounding made negative count as 0."""
    values, vectors = np.linalg.eigh(cov)
    return (vectors * np.sqrt(np.maximum(values, 0.0))[None]) @ vectors.T
