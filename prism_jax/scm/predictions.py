"""Predicted attributes as likelihoods and as values: pure functions of `models.predictors.Outputs`."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from prism_jax.models.predictors import ChestConfig, ChestPredictor, MorphoConfig, MorphoPredictor
from prism_jax.scm.graph import Attributes, Graph

Outputs = Mapping[str, jax.Array]


def check(config: MorphoConfig | ChestConfig, graph: Graph) -> None:
    """Raises ValueError unless the predictor predicts the attributes of the graph, with the same classes."""
    wanted = {node.name: node.values.classes for node in graph.nodes}
    unlike = sorted(name for name, _ in wanted.items() ^ config.heads.items())
    unknown = [name for name in config.conditioning if name not in wanted]
    if unlike or unknown:
        names = ", ".join(dict.fromkeys([*unlike, *unknown]))
        raise ValueError(f"predictors and graph differ in {names}; the graph has {', '.join(graph.names)}: read these")


def read(
    predictor: MorphoPredictor | ChestPredictor,
    graph: Graph,
    images: jax.Array,
    attributes: Attributes,
    *,
    keys: jax.Array | None = None,
) -> Outputs:
    """Predictions for images [b, h, w, c] in [-1, 1], conditioned on those of `attributes` [b] that it needs.

    With `keys` [b], as in training, units drop out, and batch norms use and renew moments.
    """
    conditioning = {name: graph[name].values.scaled(attributes[name]) for name in predictor.config.conditioning}
    return predictor(images, conditioning, keys=keys)


def log_prob(graph: Graph, outputs: Outputs, attributes: Attributes) -> dict[str, jax.Array]:
    """log q(attribute | image) of each attribute, [b]; quantities in the scaled unit."""
    log_probs = {}
    for name, output in outputs.items():
        value = graph[name].values.scaled(attributes[name])
        if graph[name].values.classes:
            log_probs[name] = jnp.take_along_axis(jax.nn.log_softmax(logits(output)), value[:, None], axis=1)[:, 0]
        else:
            log_probs[name] = jax.scipy.stats.norm.logpdf(value, output[:, 0], output[:, 1])
    return log_probs


def values(graph: Graph, outputs: Outputs) -> dict[str, jax.Array]:
    """The likeliest attributes [b] in their own units."""
    return {
        name: graph[name].values.unscaled(output[:, 0])
        if not graph[name].values.classes
        else jnp.argmax(logits(output), axis=1).astype(jnp.int32)
        for name, output in outputs.items()
    }


def probabilities(graph: Graph, outputs: Outputs) -> dict[str, jax.Array]:
    """Of the classes of each discrete attribute, [b, classes]."""
    return {name: jax.nn.softmax(logits(out)) for name, out in outputs.items() if graph[name].values.classes}


def logits(output: jax.Array) -> jax.Array:
    """One logit [b, 1] as two [b, 2]; more as they are."""
    return jnp.concatenate([jnp.zeros_like(output), output], axis=1) if output.shape[1] == 1 else output
