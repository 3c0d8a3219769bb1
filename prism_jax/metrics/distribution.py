"""Distance of generated from real images in the feature space of a classifier. float64, on the host.

FID and KID measure the distance of the two distributions; precision and density the realism of generated images, recall
and coverage their diversity.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from prism_jax.metrics.moments import GROUPS, Moments, frechet
from prism_jax.metrics.neighbours import distance_blocks, radii
from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap, proportion


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistributionConfig:
    """Options of the comparison of two sets."""

    k: int = 5
    """k of the k-nearest-neighbour radius in precision, recall, density and coverage."""
    groups: int = GROUPS
    """Groups of patients that the interval of FID leaves out one by one."""
    kernel_rows: int = 4000
    """Maximum number of images per set in KID, evenly spaced: its matrices are this large."""
    bootstrap: BootstrapConfig = BootstrapConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """Features of images with their patients and findings."""

    features: np.ndarray  # float32 [n, d]
    patients: np.ndarray  # str [n]
    findings: Mapping[str, np.ndarray]  # float32 [n] each: 1, 0, or NaN where unknown

    @classmethod
    def of(
        cls, features: np.ndarray, *, patients: Sequence, findings: Mapping[str, np.ndarray] | None = None
    ) -> "FeatureSet":
        """Takes a batch of features [b, d].

        Raises:
          ValueError: counts that differ, features that are not finite.
        """
        features = np.asarray(features, np.float32)
        columns = {name: np.asarray(values, np.float32) for name, values in (findings or {}).items()}
        lengths = {"patients": len(patients)} | {name: len(values) for name, values in columns.items()}
        wrong = {name: length for name, length in lengths.items() if length != len(features)}
        if features.ndim != 2 or wrong:
            raise ValueError(f"features {features.shape} do not fit {wrong or 'this'}; give [b, d] and b of each")
        if not np.isfinite(features).all():
            raise ValueError("features are not finite; leave out the images that the network cannot read")
        return cls(features=features, patients=np.array([str(p) for p in patients], str), findings=columns)

    def having(self, finding: str, *, value: bool = True) -> "FeatureSet":
        """The images labelled with, or without, the finding."""
        rows = self.findings[finding] == float(value)
        findings = {name: values[rows] for name, values in self.findings.items()}
        return FeatureSet(features=self.features[rows], patients=self.patients[rows], findings=findings)


def compare(real: FeatureSet, generated: FeatureSet, config: DistributionConfig) -> dict[str, Estimate]:
    """`fid`, `kid`, `precision`, `recall`, `density`, `coverage`; NaN where either set has no more than k images.

    Counts are patients: of the generated images in all but recall and coverage, which are about the real ones. The
    intervals of the last four hold the other set as it is.

    Raises:
      ValueError: the features have different lengths.
    """
    if min(len(real.features), len(generated.features)) <= config.k:
        nothing = Estimate(value=np.nan, count=len(np.unique(generated.patients)))
        return dict.fromkeys(("fid", "kid", "precision", "recall", "density", "coverage"), nothing)
    moments = [Moments.of(side.features, side.patients, groups=config.groups) for side in (real, generated)]
    estimates = {
        "fid": frechet(*moments, level=config.bootstrap.level),
        "kid": kernel_distance(real, generated, config),
    }
    within = neighbourhoods(real.features, generated.features, k=config.k)
    for name, rows in within.items():
        patients = real.patients if name in ("recall", "coverage") else generated.patients
        if name == "density":
            estimates[name] = bootstrap(np.mean, rows, subjects=patients, config=config.bootstrap)
        else:
            estimates[name] = proportion(rows, subjects=patients, level=config.bootstrap.level)
    return estimates


def compare_by_finding(
    real: FeatureSet, generated: FeatureSet, config: DistributionConfig
) -> dict[str, dict[str, Estimate]]:
    """`compare` of everything, under "all", and of the images with each finding that both sets name."""
    common = [name for name in real.findings if name in generated.findings]
    each = {name: compare(real.having(name), generated.having(name), config) for name in common}
    return {"all": compare(real, generated, config)} | each


def neighbourhoods(real: np.ndarray, generated: np.ndarray, *, k: int) -> dict[str, np.ndarray]:
    """Per-image terms whose means are the four fractions: float64 [m] of generated and [n] of real images.

    `precision` [m] and `recall` [n]: does it lie within the reach (distance to the k-th neighbour) of any image of the
    other set (Kynkäänniemi et al. 2019). `density` [m]: within the reach of how many real images, over k; `coverage`
    [n]: is any generated image within its own reach (Naeem et al. 2020, eq. 5 and 6).

    Raises:
      ValueError: a set has no more than k images, or the features have different lengths.
    """
    reach, generated_reach = radii(real, k=k), radii(generated, k=k)
    hits, recall, coverage = np.zeros(len(generated)), np.zeros(len(real)), np.zeros(len(real))
    for rows, block in distance_blocks(real, generated):  # [n, m] in slices of n
        within = block < reach[rows, None]
        hits += within.sum(0)
        coverage[rows] = within.any(1)
        recall[rows] = (block < generated_reach[None]).any(1)
    return {"precision": (hits > 0).astype(float), "recall": recall, "density": hits / k, "coverage": coverage}


def kernel_distance(real: FeatureSet, generated: FeatureSet, config: DistributionConfig) -> Estimate:
    """KID: the unbiased squared MMD with the kernel (x y / d + 1)^3 (Bińkowski et al. 2018), counted in patients.

    It may be negative. Bootstrapped by patients of both sets; pairs of an image with itself never count, also where it
    was drawn twice.

    Raises:
      ValueError: fewer than two images in a set, or features of different lengths.
    """
    (x, x_patients), (y, y_patients) = (_thinned(side, config.kernel_rows) for side in (real, generated))
    if min(len(x), len(y)) < 2:
        raise ValueError(f"{len(x)} real and {len(y)} generated images have no KID; give 2 or more of each")
    rng, count = np.random.default_rng(config.bootstrap.seed), config.bootstrap.resamples
    weights = [_drawn(patients, count, rng) for patients in (x_patients, y_patients)]
    draws = _squared_mmd(x, y, *weights)
    tail = (1 - config.bootstrap.level) / 2
    low, high = np.nanquantile(draws[1:], [tail, 1 - tail])
    return Estimate(value=float(draws[0]), low=float(low), high=float(high), count=len(np.unique(y_patients)))


def _thinned(side: FeatureSet, most: int) -> tuple[np.ndarray, np.ndarray]:
    n = len(side.features)
    rows = np.linspace(0, n - 1, min(n, most)).astype(int)
    return side.features[rows].astype(np.float64), side.patients[rows]


def _drawn(patients: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Number of times that each row is drawn, [1 + count, n]: once in the first line, then as its patient in each
    resample."""
    names, owner = np.unique(patients, return_inverse=True)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)
    return np.concatenate([np.ones((1, len(owner))), drawn[:, owner]])


def _squared_mmd(x: np.ndarray, y: np.ndarray, x_weights: np.ndarray, y_weights: np.ndarray) -> np.ndarray:
    """The statistic under each line of weights [r, n] and [r, m], [r]; NaN where a line holds one image only."""

    def within(values, weights):
        kernel = (values @ values.T / values.shape[1] + 1.0) ** 3
        apart = np.einsum("rn,rn->r", weights @ kernel, weights) - weights**2 @ np.diag(kernel)
        pairs = weights.sum(1) ** 2 - (weights**2).sum(1)
        return np.divide(apart, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)

    between = (x @ y.T / x.shape[1] + 1.0) ** 3
    across = np.einsum("rm,rm->r", x_weights @ between, y_weights) / (x_weights.sum(1) * y_weights.sum(1))
    return within(x, x_weights) + within(y, y_weights) - 2.0 * across
