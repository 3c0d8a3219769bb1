"""Measurements of one seed of a method, image by image."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from prism_jax.evaluation.benchmark.generate import KINDS, Generated, Kind
from prism_jax.evaluation.benchmark.ground_truth import Mode, TrueCounterfactuals
from prism_jax.evaluation.benchmark.judge import JudgePanel, Predictions, mean_error
from prism_jax.evaluation.benchmark.queries import Query, firsts, fitted
from prism_jax.evaluation.edited_cohort import AGE, labels
from prism_jax.metrics import axioms
from prism_jax.pixels import from_uint8
from prism_jax.stats.intervals import BootstrapConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkInputs:
    """Inputs common to all methods: n queries, their images and truths, and a reference set of m real images."""

    queries: Sequence[Query]
    size: int
    panel: JudgePanel
    originals: np.ndarray  # uint8 [n, h, w], one per query
    predictions: Predictions  # of those
    reference_set: Predictions  # of m real images
    reference_values: np.ndarray  # float32 [m, c]: 1, 0 or years, NaN where unknown
    reference_patients: np.ndarray  # [m]
    truths: TrueCounterfactuals | None  # at the common size
    bootstrap: BootstrapConfig

    @property
    def columns(self) -> tuple[str, ...]:
        return self.panel.columns

    @property
    def patients(self) -> np.ndarray:
        return np.array([query.subject.patient for query in self.queries])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurements:
    """Measurements of the n counterfactuals of one seed."""

    values: Mapping[str, np.ndarray]  # float64 [n] by measure
    predictions: Mapping[Kind, Predictions]  # of null edits and counterfactuals
    targets: np.ndarray  # float64 [n, c]: expected attributes of the counterfactuals
    changed: np.ndarray  # bool [n, c]: edited attributes
    effects: np.ndarray  # float64 [n, c]: judges on the counterfactual minus on the null edit
    true_effects: np.ndarray | None  # float64 [n, c], of the method's mode; NaN where undefined
    generated: Generated


def measure(generated: Generated, mode: Mode, inputs: BenchmarkInputs) -> Measurements:
    """Measures the images of one seed at the common size."""
    queries = inputs.queries
    read = lambda kind: np.stack([fitted(image, inputs.size) for image in generated.images(kind, queries)])
    images = {kind: read(kind) for kind in KINDS}
    predictions = {kind: inputs.panel.predict(images[kind]) for kind in ("null", "edited")}
    factual = labels([query.source for query in queries], inputs.columns)
    surgical = labels([query.target for query in queries], inputs.columns)
    changed = (factual != surgical) & ~np.isnan(surgical)
    effects = predictions["edited"].mean - predictions["null"].mean
    true = None if inputs.truths is None else true_effects(inputs, mode)
    values = inputs.panel.compare(images["edited"], inputs.originals) | cycles(images, inputs.originals, queries)
    values |= {"minimality": minimality(predictions["edited"], factual, surgical, changed, inputs)}
    values |= effect_sizes(effects, surgical, changed, true, inputs.columns)
    if inputs.truths is not None:
        truth, mask = inputs.truths.images[mode], inputs.truths.masks
        regions = {"error": None, "error_inside": mask, "error_outside": ~mask}
        values |= {name: mean_error(images["edited"], truth, where) for name, where in regions.items()}
        null = mean_error(images["null"], truth, mask)
        values |= {"closer": np.where(np.isnan(null), np.nan, values["error_inside"] < null)}
    target = labels([generated.expected[query.key] for query in queries], inputs.columns)
    common = dict(targets=target, changed=changed, effects=effects, true_effects=true)
    return Measurements(values=values, predictions=predictions, generated=generated, **common)


def cycles(images: Mapping[Kind, np.ndarray], originals: np.ndarray, queries: Sequence[Query]) -> dict[str, np.ndarray]:
    """`composition` and `reversibility` of one round, grey levels [n]; composition counts once per subject."""
    distance = lambda kind: axioms.pixel_distance(from_uint8(images[kind]), from_uint8(originals))
    is_first = np.isin(np.arange(len(queries)), firsts(queries))
    return {"composition": np.where(is_first, distance("null"), np.nan), "reversibility": distance("back")}


def true_effects(inputs: BenchmarkInputs, mode: Mode) -> np.ndarray:
    """The phantom's true effects, float64 [n, c]."""
    factual, after = [query.source for query in inputs.queries], inputs.truths.attributes[mode]
    return labels(after, inputs.columns) - labels(factual, inputs.columns)


def effect_sizes(
    effects: np.ndarray, target: np.ndarray, changed: np.ndarray, true: np.ndarray | None, columns: Sequence[str]
) -> dict[str, np.ndarray]:
    """Effects on binary attributes, in probability, float64 [n].

    `on_target`: towards the target; `off_target`: mean absolute effect on all others; `effect_error`: mean absolute
    difference of all effects from the true ones.
    """
    is_binary = np.array([column != AGE for column in columns])[None]
    toward = np.where(target == 1, effects, -effects)
    sizes = {
        "on_target": _mean_over(toward, changed & is_binary),
        "off_target": _mean_over(np.abs(effects), ~changed & is_binary),
    }
    if true is not None:
        sizes["effect_error"] = _mean_over(np.abs(effects - true), is_binary & ~np.isnan(true))
    return sizes


def _mean_over(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    count = where.sum(1)
    total = np.where(where, values, 0.0).sum(1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def minimality(
    edited: Predictions, factual: np.ndarray, target: np.ndarray, changed: np.ndarray, inputs: BenchmarkInputs
) -> np.ndarray:
    """Counterfactual latent divergence [n] of edits of one attribute; NaN for others. Ages are binned into deciles."""
    divergence = np.full(len(changed), np.nan)
    for k, column in enumerate(inputs.columns):
        rows = changed[:, k] & (changed.sum(1) == 1)
        labelled = ~np.isnan(inputs.reference_values[:, k])
        if not rows.any() or not labelled.any():
            continue
        reference = inputs.reference_values[labelled, k]
        kind = (lambda x, bins_of=reference: axioms.deciles(x, bins_of)) if column == AGE else (lambda x: x)
        divergence[rows] = axioms.minimality(
            inputs.predictions.features[rows],
            edited.features[rows],
            inputs.reference_set.features[labelled],
            factual=kind(factual[rows, k]),
            target=kind(target[rows, k]),
            reference_values=kind(reference),
            patients=inputs.patients[rows],
            reference_patients=inputs.reference_patients[labelled],
        )
    return divergence
