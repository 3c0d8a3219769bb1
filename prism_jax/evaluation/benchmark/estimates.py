"""Estimates of a method: means with intervals by patient, averaged over seeds."""

from collections.abc import Mapping, Sequence

import numpy as np

from prism_jax.data.targets import AGE
from prism_jax.evaluation.benchmark.measure import BenchmarkInputs, Measurements
from prism_jax.metrics import axioms
from prism_jax.metrics.classification import CUT
from prism_jax.metrics.moments import Moments, frechet
from prism_jax.stats.intervals import NO_ESTIMATE, BootstrapConfig, Estimate, bootstrap
from prism_jax.stats.seeds import mean_over_seeds

FID = "fid"
EachSeed = Sequence[Mapping[str, Estimate]]  # of one method, by measure


def image_estimates(seeds: Sequence[Measurements], inputs: BenchmarkInputs, rows: np.ndarray) -> EachSeed:
    """Image measures and FID of each seed on the queries `rows` (bool [n])."""
    patients, config = inputs.patients[rows], inputs.bootstrap
    each = []
    for seed in seeds:
        means = {
            name: bootstrap(np.mean, values[rows], subjects=patients, config=config)
            for name, values in seed.values.items()
        }
        generated = Moments.of(seed.predictions["edited"].features[rows], patients)
        real = Moments.of(inputs.reference_set.features, inputs.reference_patients)
        each.append(means | {FID: frechet(real, generated, level=config.level)})
    return each


def of_effectiveness(
    seeds: Sequence[Measurements], inputs: BenchmarkInputs, rows: np.ndarray
) -> dict[str, dict[str, Estimate]]:
    """Effectiveness by attribute on the queries `rows`: agreement of the judges with the expected attributes."""
    by_column: dict[str, list[dict[str, Estimate]]] = {}
    for seed in seeds:
        for k, column in enumerate(inputs.columns):
            target, predicted = seed.targets[rows, k], seed.predictions["edited"].mean[rows, k]
            labelled = ~np.isnan(target)
            if labelled.any():
                patients = inputs.patients[rows][labelled]
                agreement = _agreement(column, predicted[labelled], target[labelled], patients, inputs.bootstrap)
                by_column.setdefault(column, []).append(agreement)
    return {
        column: {label: mean_over_seeds([agreement[label] for agreement in parts]) for label in parts[0]}
        for column, parts in by_column.items()
    }


def _agreement(
    column: str, predicted: np.ndarray, target: np.ndarray, patients: np.ndarray, config: BootstrapConfig
) -> dict[str, Estimate]:
    """`error` of age; `accuracy` and `auroc` of others; no AUROC with one class only."""
    targets = target if column == AGE else target == 1
    if column != AGE and len(set(targets)) == 1:
        right = (predicted >= CUT) == targets
        return {"accuracy": bootstrap(np.mean, right, subjects=patients, config=config), "auroc": NO_ESTIMATE}
    given = dict(predicted={column: predicted}, targets={column: targets})
    return axioms.effectiveness(**given, patients=patients, config=config)[column]


def of_columns(effects: Sequence[np.ndarray], inputs: BenchmarkInputs, rows: np.ndarray) -> dict[str, Estimate]:
    """Mean over the queries `rows` of the `effects` [n, c] of each seed, by judged attribute; NaN is left out."""
    options = dict(subjects=inputs.patients[rows], config=inputs.bootstrap)
    return {
        column: mean_over_seeds([bootstrap(np.mean, each[rows, k], **options) for each in effects])
        for k, column in enumerate(inputs.columns)
    }
