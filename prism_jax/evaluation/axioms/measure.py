"""What predictors, and a ruler where there is one, find in counterfactuals, and how far these are from the images."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import numpy as np

from prism_jax.data.sources import morphomnist
from prism_jax.evaluation.axioms.generate import Columns, Imagined
from prism_jax.evaluation.axioms.interventions import Do
from prism_jax.metrics import axioms, digits
from prism_jax.models.predictors import ChestPredictor, MorphoPredictor
from prism_jax.pixels import GREY_LEVELS, from_uint8
from prism_jax.scm import predictions
from prism_jax.scm.graph import Graph
from prism_jax.scm.observed import Observed
from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap
from prism_jax.training.predict import predict_dataset

Agreement = dict[str, dict[str, Estimate]]  # attribute -> figure -> estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """What pictures of one graph are measured with."""

    graph: Graph
    predictor: MorphoPredictor | ChestPredictor
    measures: Mapping[str, Callable[[np.ndarray], np.ndarray]]  # attribute -> uint8 [n, h, w] to its own unit [n]
    patients: np.ndarray  # [n]
    batch_size: int
    bootstrap: BootstrapConfig

    def predicted(self, pictures: np.ndarray, attributes: Columns) -> Agreement:
        """How well predictors find the `attributes` [n] in pictures uint8 [n, h, w, 1], of which they are told some."""
        read = lambda batch: _read(self.predictor, *batch, graph=self.graph)
        joined = predict_dataset(read, (pictures, dict(attributes)), self.batch_size)
        return self._agreement(joined, {name: attributes[name] for name in joined})

    def measured(self, pictures: np.ndarray, attributes: Columns) -> Agreement:
        """The same of what can be measured on the pixels; pictures in which nothing can be are left out."""
        found: Agreement = {}
        for name, measure in self.measures.items():
            values = measure(pictures[..., 0])
            known = ~np.isnan(values)
            kept = dataclasses.replace(self, patients=self.patients[known])
            found |= kept._agreement({name: values[known]}, {name: attributes[name][known]})
        return found

    def distance(self, pictures: np.ndarray, references: np.ndarray) -> Estimate:
        """Mean absolute difference of uint8 [n, h, w, 1], grey levels."""
        return self.mean(axioms.pixel_distance(pictures / GREY_LEVELS, references / GREY_LEVELS))

    def mean(self, values: np.ndarray) -> Estimate:
        return bootstrap(np.mean, values, subjects=self.patients, config=self.bootstrap)

    def _agreement(self, predicted: Columns, targets: Columns) -> Agreement:
        kinds = {name: self.graph[name].values.classes for name in targets}
        cast = lambda name: targets[name] == 1 if kinds[name] == 2 else targets[name]
        typed = {name: cast(name) if kinds[name] else np.asarray(targets[name], np.float64) for name in targets}
        return axioms.effectiveness(predicted, typed, patients=self.patients, config=self.bootstrap)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One image mechanism under one do."""

    predicted: Agreement
    measured: Agreement
    reversibility: Estimate  # grey levels
    change: Estimate
    error: Estimate | None  # to the true counterfactual, where it can be computed
    untouched: Estimate | None  # of the image itself to that


def measure(bench: Bench, data: Observed, do: Do, made: Imagined) -> Measured:
    """Reads the counterfactuals, and holds them against the images and the truth."""
    truth = true_pictures(bench.graph, data, do, made.after)
    return Measured(
        predicted=bench.predicted(made.edited, made.after),
        measured=bench.measured(made.edited, made.after),
        reversibility=bench.distance(made.back, data.images),
        change=bench.distance(made.edited, data.images),
        error=None if truth is None else bench.distance(made.edited, truth),
        untouched=None if truth is None else bench.distance(data.images, truth),
    )


def rulers(graph: Graph) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What of the graph's attributes can be measured on pixels: thickness and intensity of digits."""
    known = {"thickness": digits.thickness, "intensity": digits.intensity}
    return {name: known[name] for name in graph.names if name in known}


def true_pictures(graph: Graph, data: Observed, do: Do, after: Columns) -> np.ndarray | None:
    """The true counterfactuals of digits whose intensity alone is set: every pixel is multiplied. Others: None."""
    if do.name != "intensity" or "thickness" not in graph.names:
        return None
    return morphomnist.brightened(data.images, data.attributes["intensity"], after["intensity"])


def amplification(on_counterfactuals: Sequence[Agreement], on_real: Agreement) -> dict[str, dict[str, float]]:
    """The mean over seeds of what figures are beyond those of real images."""
    each = [axioms.amplification(found, on_real) for found in on_counterfactuals]
    return {
        name: {label: float(np.mean([one[name][label] for one in each])) for label in figures}
        for name, figures in each[0].items()
    }


@partial(jax.jit, static_argnames="graph")
def _read(
    predictor: MorphoPredictor | ChestPredictor, pictures: jax.Array, told: Mapping[str, jax.Array], *, graph: Graph
) -> dict[str, jax.Array]:
    """Quantities [b] in their own units, the probability [b] of a binary attribute, those [b, c] of classes."""
    outputs = predictions.read(predictor, graph, from_uint8(pictures), told)
    chances = predictions.probabilities(graph, outputs)
    binary = {name: chance[:, 1] for name, chance in chances.items() if chance.shape[1] == 2}
    return predictions.values(graph, outputs) | chances | binary
