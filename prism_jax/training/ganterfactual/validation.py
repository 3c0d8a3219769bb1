"""Validation of generators on held-out images, during and after training.

Hits are counted by the classifier that is in the loss: they show training progress, not the quality of counterfactuals.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from prism_jax.classifier import Classifier
from prism_jax.pixels import from_uint8
from prism_jax.stats.intervals import BootstrapConfig, bootstrap, proportion
from prism_jax.training.ganterfactual.data import Sides
from prism_jax.training.ganterfactual.step import GanState, attribute_logits
from prism_jax.training.log import Log
from prism_jax.training.loop import Hook
from prism_jax.training.predict import predict_over_mesh
from prism_jax.training.sample_images import write_pairs

WAYS = {"add": False, "remove": True}  # generator -> True if its input images have the attribute


@dataclasses.dataclass(frozen=True, kw_only=True)
class GANterfactualValidation:
    """Validation on held-out images, each translated into the other kind."""

    every: int = 500
    """Steps between validations; 0: only the finished generators are validated."""
    split: Literal["val", "test"] = "val"
    limit: int | None = None
    """Number of validation images, the first of the split; None: all."""
    shown: int = 8
    """Images of each kind in samples/, above their translations."""
    intervals: BootstrapConfig = BootstrapConfig(resamples=500)


def predict_fn(
    graphdef: nnx.GraphDef, attribute: str, batch_size: int, mesh: Mesh
) -> Callable[[Any, Classifier, Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """`predict(params, classifier, rows)` for "image" and "has" [n] of `Sides`: "image" [n, h, w, 1], translated; "hit"
    [n], whether the classifier gives it the class it was translated into; "l1" [n], its mean distance to the original
    in [-1, 1]."""

    def forward(params: Any, classifier: Classifier, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        generators, x, has = nnx.merge(graphdef, params), from_uint8(batch["image"]), batch["has"]
        images = jnp.where(has[:, None, None, None], generators.remove(x), generators.add(x))
        hit = (attribute_logits(classifier, attribute, images) > 0) != has
        return {"image": images, "hit": hit, "l1": jnp.abs(images - x).mean((1, 2, 3))}

    return predict_over_mesh(forward, batch_size, mesh)


def validation(config: Any, predict: Callable[[Any], dict[str, np.ndarray]], held: Sides) -> Hook:
    """Measures `held`, whose predictions `predict(params)` gives.

    There is no validation loss, since no measure here selects the best generators; the last ones are kept.
    """

    def call(state: GanState, step: int, log: Log) -> dict[str, float]:
        predictions, means = predict(state.generators.params), {}
        for way, has in WAYS.items():
            rows, count = held.has == has, config.validation.shown
            write_pairs(held.images[rows], predictions["image"][rows], config.run, f"{step}-{way}", count=count)
            means |= {f"validation_{name}_{way}": float(predictions[name][rows].mean()) for name in ("hit", "l1")}
        return means

    return Hook(every=config.validation.every, call=call)


def measured(predictions: Mapping[str, np.ndarray], held: Sides, config: Any) -> dict[str, dict[str, dict]]:
    """By way: the proportion of hits and the mean distance to the original, with intervals over patients."""
    options, report = config.validation.intervals, {}
    for way, has in WAYS.items():
        rows = held.has == has
        patients = held.patients[rows]
        hits = proportion(predictions["hit"][rows], subjects=patients, level=options.level)
        l1 = bootstrap(np.mean, predictions["l1"][rows], subjects=patients, config=options)
        report[way] = {"hit_rate": dataclasses.asdict(hits), "l1": dataclasses.asdict(l1)}
    return report
