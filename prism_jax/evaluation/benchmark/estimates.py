"""Means with intervals by patient of what was measured, over seeds where a row has several."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from prism_jax.evaluation.benchmark.measure import Measured, Shared
from prism_jax.evaluation.edited_cohort import AGE
from prism_jax.metrics import axioms
from prism_jax.metrics.classification import CUT
from prism_jax.metrics.counterfactual import effect_agreement
from prism_jax.metrics.moments import Moments, frechet
from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap
from prism_jax.stats.seeds import mean_over_seeds

FID = "fid"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What the seeds of one row reached on some of the asks, each measure by name: means, and seed by seed."""

    each: tuple[Mapping[str, Estimate], ...]

    @property
    def mean(self) -> dict[str, Estimate]:
        return {name: mean_over_seeds([found[name] for found in self.each]) for name in self.each[0]}


def of_pictures(seeds: Sequence[Measured], shared: Shared, rows: np.ndarray, config: BootstrapConfig) -> Found:
    """The measures of single pictures, and FID, on the asks `rows` (bool [n])."""
    patients = shared.patients[rows]
    each = []
    for one in seeds:
        means = {
            name: bootstrap(np.mean, values[rows], subjects=patients, config=config)
            for name, values in one.values.items()
        }
        made = Moments.of(one.seen["edited"].features[rows], patients)
        real = Moments.of(shared.bank.features, shared.bank_patients)
        each.append(means | {FID: frechet(real, made, level=config.level)})
    return Found(each=tuple(each))


def of_effectiveness(
    seeds: Sequence[Measured], shared: Shared, rows: np.ndarray, config: BootstrapConfig
) -> dict[str, dict[str, Estimate]]:
    """Attribute by attribute, on the asks `rows`: do judges see what the counterfactuals are to show?"""
    found: dict[str, list[dict[str, Estimate]]] = {}
    for one in seeds:
        for k, column in enumerate(shared.columns):
            wanted, predicted = one.targets[rows, k], one.seen["edited"].mean[rows, k]
            known = ~np.isnan(wanted)
            if known.any():
                patients = shared.patients[rows][known]
                agreement = _agreement(column, predicted[known], wanted[known], patients, config)
                found.setdefault(column, []).append(agreement)
    return {
        column: {label: mean_over_seeds([one[label] for one in parts]) for label in parts[0]}
        for column, parts in found.items()
    }


def _agreement(
    column: str, predicted: np.ndarray, wanted: np.ndarray, patients: np.ndarray, config: BootstrapConfig
) -> dict[str, Estimate]:
    """`error` of age; `accuracy` and `auroc` of others, the latter without a value where all are to be alike."""
    targets = wanted if column == AGE else wanted == 1
    if column != AGE and len(set(targets)) == 1:
        right = (predicted >= CUT) == targets
        nothing = Estimate(value=np.nan, low=np.nan, high=np.nan, count=0)
        return {"accuracy": bootstrap(np.mean, right, subjects=patients, config=config), "auroc": nothing}
    given = dict(predicted={column: predicted}, targets={column: targets})
    return axioms.effectiveness(**given, patients=patients, config=config)[column]


def of_effects(
    seeds: Sequence[Measured], shared: Shared, rows: np.ndarray, config: BootstrapConfig
) -> dict[str, Estimate]:
    """The mean effect on every judged attribute: probability, and years of age."""
    options = dict(subjects=shared.patients[rows], config=config)
    return {
        column: mean_over_seeds([bootstrap(np.mean, one.effects[rows, k], **options) for one in seeds])
        for k, column in enumerate(shared.columns)
    }


def of_bias(
    seeds: Sequence[Measured], shared: Shared, rows: np.ndarray, config: BootstrapConfig
) -> dict[str, Estimate]:
    """The same less the generator's effect, subject by subject; NaN where that is not known."""
    options = dict(subjects=shared.patients[rows], config=config)
    return {
        column: mean_over_seeds(
            [effect_agreement(one.effects[rows, k], one.true_effects[rows, k], **options)["bias"] for one in seeds]
        )
        for k, column in enumerate(shared.columns)
    }


def of_truth(effects: np.ndarray, shared: Shared, rows: np.ndarray, config: BootstrapConfig) -> dict[str, Estimate]:
    """The generator's own mean effect on every judged attribute, of effects [n, c]."""
    options = dict(subjects=shared.patients[rows], config=config)
    return {column: bootstrap(np.mean, effects[rows, k], **options) for k, column in enumerate(shared.columns)}
