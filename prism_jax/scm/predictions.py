"""What predictors say of attributes, as likelihoods and as values: pure functions of `models.predictors.Outputs`."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from prism_jax.scm.graph import Attributes, Graph

Outputs = Mapping[str, jax.Array]


def log_prob(graph: Graph, outputs: Outputs, attributes: Attributes) -> dict[str, jax.Array]:
    """log q(attribute | image) of each attribute, [b]; quantities in the scaled unit."""
    found = {}
    for name, output in outputs.items():
        value = graph[name].values.scaled(attributes[name])
        if graph[name].values.classes:
            found[name] = jnp.take_along_axis(jax.nn.log_softmax(logits(output)), value[:, None], axis=1)[:, 0]
        else:
            found[name] = jax.scipy.stats.norm.logpdf(value, output[:, 0], output[:, 1])
    return found


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
