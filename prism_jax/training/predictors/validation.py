"""Validation of attribute predictors on held-out images, during and after training."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from prism_jax.checkpoint import VALIDATION_LOSS
from prism_jax.metrics.classification import ClassificationMetrics, auroc
from prism_jax.pixels import from_uint8
from prism_jax.scm import predictions
from prism_jax.scm.observed import Observed
from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap, proportion
from prism_jax.training.log import Log
from prism_jax.training.loop import Hook
from prism_jax.training.predict import predict_over_mesh

Predictions = Mapping[str, Mapping[str, np.ndarray]]
"""By attribute: "nll" and "value" [n], and "probabilities" [n, classes] of discrete ones."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictorsValidation:
    """Validation of the averaged weights on held-out images."""

    every: int = 500
    """Steps between validations; must divide loop.checkpoint_every. 0: never."""
    split: Literal["val", "test"] = "val"
    limit: int | None = None
    """Number of validation images, the first of the split; None: all."""
    intervals: BootstrapConfig = BootstrapConfig(resamples=500)


def predict_fn(config: Any, graphdef: nnx.GraphDef, mesh: Mesh) -> Callable[[Any, Observed], Predictions]:
    """`predict(values, data)`: the predictions of the network with these parameters and moments for n images.

    Heads are conditioned on the true values of their parents.
    """
    graph = config.graph

    def forward(values: Any, batch: Mapping[str, jax.Array]) -> dict[str, dict[str, jax.Array]]:
        outputs = predictions.read(nnx.merge(graphdef, values), graph, from_uint8(batch["image"]), batch)
        return {
            "nll": {name: -log_prob for name, log_prob in predictions.log_prob(graph, outputs, batch).items()},
            "value": predictions.values(graph, outputs),
            "probabilities": predictions.probabilities(graph, outputs),
        }

    predict = predict_over_mesh(forward, config.batch_size, mesh)
    return lambda values, data: predict(values, data.arrays())


def validation(config: Any, predict: Callable[[Any], Predictions], held: Observed) -> Hook:
    """Measures -log q of each attribute, their sum (the validation loss), and hits or errors, of `held`."""

    def call(state: Any, step: int, log: Log) -> dict[str, float]:
        predictions = predict(state)
        costs = {f"validation_nll_{name}": float(cost.mean()) for name, cost in predictions["nll"].items()}
        scores = {}
        for name, value in predictions["value"].items():
            is_discrete = bool(config.graph[name].values.classes)
            of, true = ("accuracy" if is_discrete else "error"), np.asarray(held.attributes[name])
            scores[f"validation_{of}_{name}"] = float(np.mean(value == true if is_discrete else np.abs(value - true)))
        return {VALIDATION_LOSS: sum(costs.values()), **costs, **scores}

    return Hook(every=config.validation.every, call=call)


def measured(predictions: Predictions, held: Observed, config: Any) -> dict[str, dict[str, dict]]:
    """By attribute and figure, with intervals over subjects: errors in own units, accuracies, areas, and nats."""
    options, report = dict(subjects=held.subjects, config=config.validation.intervals), {}
    for name, nll in predictions["nll"].items():
        true = held.attributes[name]
        if config.graph[name].values.classes:
            estimates = _of_classes(predictions["probabilities"][name], true, **options)
        else:
            errors = np.abs(predictions["value"][name] - true)
            estimates = {"mean_absolute_error": bootstrap(np.mean, errors, **options)}
        estimates["nll"] = bootstrap(np.mean, nll, **options)
        report[name] = {figure: dataclasses.asdict(estimate) for figure, estimate in estimates.items()}
    return report


def _of_classes(
    probabilities: np.ndarray, true: np.ndarray, *, subjects: np.ndarray, config: BootstrapConfig
) -> dict[str, Estimate]:
    """Accuracy and AUROC (of more than two classes, the mean of each against the others) and, of two, the rest."""
    probabilities, true = np.asarray(probabilities, np.float64), np.asarray(true)
    if probabilities.shape[1] == 2:
        return ClassificationMetrics.of(probabilities[:, 1], true, patients=subjects).compute(config=config)
    hits = proportion(probabilities.argmax(1) == true, subjects=subjects, level=config.level)
    area = bootstrap(_mean_auroc, true, *probabilities.T, subjects=subjects, config=config)
    return {"accuracy": hits, "auroc": area}


def _mean_auroc(true: np.ndarray, *scores: np.ndarray) -> float:
    """Mean over the classes that are there of each one's area against the others."""
    there = [i for i in range(len(scores)) if 0 < np.mean(true == i) < 1]
    return float(np.mean([auroc(scores[i], true == i) for i in there])) if there else float("nan")
