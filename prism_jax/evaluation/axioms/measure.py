"""Measures counterfactuals: predicted and measured attributes, and distances to the images."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

import jax
import numpy as np

from prism_jax.data.sources import morphomnist
from prism_jax.evaluation.axioms.generate import Columns, Counterfactuals
from prism_jax.evaluation.axioms.interventions import Intervention
from prism_jax.metrics import axioms, digits
from prism_jax.models.predictors import ChestPredictor, MorphoPredictor
from prism_jax.pixels import GREY_LEVELS, from_uint8
from prism_jax.scm import predictions
from prism_jax.scm.graph import Graph
from prism_jax.scm.observed import Observed
from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap
from prism_jax.training.predict import predict_dataset

Agreement = dict[str, dict[str, Estimate]]  # attribute -> measure -> estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Predictors and pixel measures for the images of one graph."""

    graph: Graph
    predictor: MorphoPredictor | ChestPredictor
    measures: Mapping[str, Callable[[np.ndarray], np.ndarray]]  # attribute -> uint8 [n, h, w] to its own unit [n]
    patients: np.ndarray  # [n]
    batch_size: int
    bootstrap: BootstrapConfig

    def predicted(self, images: np.ndarray, attributes: Columns) -> Agreement:
        """Agreement of the predictors with `attributes` [n] on images uint8 [n, h, w, 1]."""
        read = lambda batch: _read(self.predictor, *batch, graph=self.graph)
        joined = predict_dataset(read, (images, dict(attributes)), self.batch_size)
        return self._agreement(joined, {name: attributes[name] for name in joined})

    def measured(self, images: np.ndarray, attributes: Columns) -> Agreement:
        """The same for attributes measured on the pixels; images without a measurement are left out."""
        agreement: Agreement = {}
        for name, measure in self.measures.items():
            values = measure(images[..., 0])
            measured = ~np.isnan(values)
            kept = dataclasses.replace(self, patients=self.patients[measured])
            agreement |= kept._agreement({name: values[measured]}, {name: attributes[name][measured]})
        return agreement

    def distance(self, images: np.ndarray, references: np.ndarray) -> Estimate:
        """Mean absolute difference of uint8 [n, h, w, 1], grey levels."""
        values = axioms.pixel_distance(images / GREY_LEVELS, references / GREY_LEVELS)
        return bootstrap(np.mean, values, subjects=self.patients, config=self.bootstrap)

    def _agreement(self, predicted: Columns, targets: Columns) -> Agreement:
        kinds = {name: self.graph[name].values.classes for name in targets}
        cast = lambda name: targets[name] == 1 if kinds[name] == 2 else targets[name]
        typed = {name: cast(name) if kinds[name] else np.asarray(targets[name], np.float64) for name in targets}
        return axioms.effectiveness(predicted, typed, patients=self.patients, config=self.bootstrap)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurements:
    """One image mechanism under one intervention."""

    predicted: Agreement
    measured: Agreement
    reversibility: Estimate  # grey levels
    change: Estimate
    error: Estimate | None  # to the true counterfactual, where it can be computed
    unchanged_error: Estimate | None  # of the unchanged image to that


def measure(
    evaluator: Evaluator, data: Observed, intervention: Intervention, counterfactuals: Counterfactuals
) -> Measurements:
    """Compares the counterfactuals with the images and the true counterfactuals."""
    truth = true_counterfactuals(evaluator.graph, data, intervention, counterfactuals.after)
    return Measurements(
        predicted=evaluator.predicted(counterfactuals.edited, counterfactuals.after),
        measured=evaluator.measured(counterfactuals.edited, counterfactuals.after),
        reversibility=evaluator.distance(counterfactuals.back, data.images),
        change=evaluator.distance(counterfactuals.edited, data.images),
        error=None if truth is None else evaluator.distance(counterfactuals.edited, truth),
        unchanged_error=None if truth is None else evaluator.distance(data.images, truth),
    )


def pixel_measures(graph: Graph) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Attributes of the graph that can be measured on pixels: thickness and intensity of digits."""
    measures = {"thickness": digits.thickness, "intensity": digits.intensity}
    return {name: measures[name] for name in graph.names if name in measures}


def true_counterfactuals(graph: Graph, data: Observed, intervention: Intervention, after: Columns) -> np.ndarray | None:
    """True counterfactuals of digits for interventions on intensity, which scale every pixel; None for others."""
    if intervention.name != "intensity" or "thickness" not in graph.names:
        return None
    return morphomnist.brightened(data.images, data.attributes["intensity"], after["intensity"])


@partial(jax.jit, static_argnames="graph")
def _read(
    predictor: MorphoPredictor | ChestPredictor,
    images: jax.Array,
    conditioning: Mapping[str, jax.Array],
    *,
    graph: Graph,
) -> dict[str, jax.Array]:
    """Quantities [b] in their own units, the probability [b] of a binary attribute, those [b, c] of classes."""
    outputs = predictions.read(predictor, graph, from_uint8(images), conditioning)
    chances = predictions.probabilities(graph, outputs)
    binary = {name: chance[:, 1] for name, chance in chances.items() if chance.shape[1] == 2}
    return predictions.values(graph, outputs) | chances | binary
