"""Validation of counterfactual training: auxiliary loss and free energy of held-out images.

Every validation image has its own intervention, the same at every evaluation.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from prism_jax import rng
from prism_jax.checkpoint import VALIDATION_LOSS
from prism_jax.pixels import from_uint8
from prism_jax.scm.graph import Graph
from prism_jax.scm.observed import Observed
from prism_jax.training import state as states
from prism_jax.training.image_mechanism.counterfactual_step import (
    CounterfactualState,
    Judged,
    imagined,
    judged_by,
)
from prism_jax.training.image_mechanism.validation import held_key
from prism_jax.training.log import Log
from prism_jax.training.loop import Hook
from prism_jax.training.predict import predict_over_mesh
from prism_jax.training.sample_images import write_pairs


def interventions(held: Observed, graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """ "which" attribute [n] of each image is set, and the values [n] that each attribute would be set to.

    Values are those of other images: the observed ones in another order.
    """
    draw = np.random.default_rng(seed)
    places = draw.permutation(len(held.ids))
    which = draw.integers(len(graph.names), size=len(held.ids)).astype(np.int32)
    return {"which": which} | {f"given {name}": np.asarray(held.attributes[name])[places] for name in graph.names}


def predict_fn(config: Any, networks: Mapping[str, nnx.GraphDef], graph: Graph, held: Observed, mesh: Mesh) -> Callable:
    """`predict(params, frozen)`: "auxiliary", "nll", "kl" [n] of the images `held`, and the counterfactuals "image"."""
    objective = config.objective

    def forward(params: Any, frozen: Judged, root: jax.Array, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        keys = lambda name: rng.per_example(rng.stream(root, name), batch["id"])
        x, attributes = from_uint8(batch["image"]), {name: batch[name] for name in graph.names}
        given = {name: batch[f"given {name}"] for name in graph.names}
        chosen = {name: batch["which"] == i for i, name in enumerate(graph.names)}
        noise = frozen.mechanisms.abduct(attributes, keys("attributes"))
        targets = frozen.mechanisms.intervene(attributes, given, chosen, noise)
        model, parents = nnx.merge(networks["image"], params), graph.parents_vector(targets)
        images, nll, kl = imagined(model, x, batch["parents"], parents, keys, objective.alpha)

        def loss(image: jax.Array, *about: Any) -> jax.Array:
            example = jax.tree.map(lambda leaf: leaf[None], about)
            return judged_by(frozen, networks, *example, objective)(image[None])

        each = jax.vmap(loss)(images, x, attributes, targets, frozen.mechanisms.affected(chosen))
        return {"auxiliary": each, "nll": nll, "kl": kl, "image": images}

    predict = predict_over_mesh(forward, config.batch_size, mesh)
    arrays, root = held.arrays() | interventions(held, graph, config.seed), held_key(config.seed, mesh)
    return lambda params, frozen: predict(params, frozen, root, arrays)


def validation(config: Any, predict: Callable, frozen: Judged, held: Observed) -> Hook:
    """Measures the averaged weights. The validation loss adds `damping` times the excess of the free energy over the
    limit.

    Of an image mechanism that breaks the limit, and one that keeps it, the best is then the latter as long as the
    multiplier stays below `damping` (an exact penalty; Nocedal and Wright 2006, section 17.2).
    """

    def call(state: CounterfactualState, step: int, log: Log) -> dict[str, float]:
        predictions = predict(states.averaged_params(state.image), frozen)
        shown, energy = float(predictions["auxiliary"].mean()), energy_of(predictions, config.objective.beta)
        write_pairs(held.images, predictions["image"], config.run, step, count=config.validation.shown)
        excess = max(0.0, energy - float(frozen.limit))
        loss = shown + config.objective.damping * excess
        return {VALIDATION_LOSS: loss, "validation_auxiliary": shown, "validation_free_energy": energy}

    return Hook(every=config.validation.every, call=call)


def energy_of(predictions: Mapping[str, np.ndarray], beta: float) -> float:
    """nll + beta KL, the mean over images, nats per dimension."""
    mean = lambda name: float(np.mean(predictions[name], dtype=np.float64))
    return mean("nll") + beta * mean("kl")
