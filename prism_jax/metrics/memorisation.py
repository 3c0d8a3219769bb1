"""Memorisation of training images, by nearest neighbours in feature space. NumPy, on the host.

A distance alone is not informative: held-out real images also have a nearest neighbour. The measure is whether
generated images lie nearer to the training set than held-out real ones do.
"""

import dataclasses

import numpy as np

from prism_jax.metrics.classification import auroc
from prism_jax.metrics.distribution import FeatureSet
from prism_jax.metrics.neighbours import nearest
from prism_jax.stats.intervals import NO_ESTIMATE, BootstrapConfig, Estimate, proportion

SUSPECT = 0.01  # quantile of held-out distances below which a generated image is suspect


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memorisation:
    """Distances to the nearest training images, of generated and of held-out real images."""

    distance: np.ndarray  # float64 [m], of each generated image to its nearest training image
    neighbour: np.ndarray  # int64 [m], which one
    ratio: np.ndarray  # float64 [m], over the distance to the next nearest; small: a copy of one image; NaN without one
    held_out: np.ndarray  # float64 [n], distances of held-out real images
    patients: np.ndarray  # str [m]
    held_out_patients: np.ndarray  # str [n]

    @classmethod
    def of(cls, *, generated: FeatureSet, held_out: FeatureSet, training: FeatureSet) -> "Memorisation":
        """Finds the nearest training image of another patient.

        A counterfactual lies near the image it was made from by design, so images of its own patient are left out.

        Raises:
          ValueError: fewer than two training images, or features of different lengths.
        """
        reference = dict(reference=training.features, reference_patients=training.patients)
        two, which = nearest(generated.features, query_patients=generated.patients, count=2, **reference)
        real, _ = nearest(held_out.features, query_patients=held_out.patients, **reference)
        has_two = (two[:, 1] > 0) & np.isfinite(two[:, 1])
        ratio = np.divide(two[:, 0], two[:, 1], out=np.full(len(two), np.nan), where=has_two)
        return cls(
            distance=two[:, 0],
            neighbour=which[:, 0],
            ratio=ratio,
            held_out=real[:, 0],
            patients=generated.patients,
            held_out_patients=held_out.patients,
        )

    def compute(self, *, config: BootstrapConfig | None = None) -> dict[str, Estimate]:
        """`suspects`: fraction nearer than the nearest 1 % of held-out images; 1 % is expected by chance.

        `nearer`: the probability that a generated image lies nearer than a held-out one (Meehan et al. 2020; 0.5 where
        nothing is copied), bootstrapped by patients of both. Images without a training image of another patient are
        left out.
        """
        config = config or BootstrapConfig()
        generated, real = np.isfinite(self.distance), np.isfinite(self.held_out)
        sides = [
            (self.distance[generated], self.patients[generated]),
            (self.held_out[real], self.held_out_patients[real]),
        ]
        if not generated.any() or not real.any():
            return {"suspects": NO_ESTIMATE, "nearer": NO_ESTIMATE}
        limit = np.quantile(self.held_out[real], SUSPECT)
        return {
            "suspects": proportion(
                self.distance[generated] < limit, subjects=self.patients[generated], level=config.level
            ),
            "nearer": _nearer(*sides, config),
        }


def _nearer(generated: tuple, real: tuple, config: BootstrapConfig) -> Estimate:
    """The probability with its interval, of distances and patients of both."""
    rng = np.random.default_rng(config.seed)
    owners = [np.unique(patients, return_inverse=True) for _, patients in (generated, real)]
    rows_of = [[np.flatnonzero(owner == i) for i in range(len(names))] for names, owner in owners]

    def statistic(a, b):
        return auroc(-np.concatenate([a, b]), np.repeat([1.0, 0.0], [len(a), len(b)]))

    def draw(distances, rows):
        return distances[np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])]

    draws = [statistic(draw(generated[0], rows_of[0]), draw(real[0], rows_of[1])) for _ in range(config.resamples)]
    low, high = np.quantile(draws, [(1 - config.level) / 2, (1 + config.level) / 2])
    return Estimate(value=statistic(generated[0], real[0]), low=float(low), high=float(high), count=len(rows_of[0]))
