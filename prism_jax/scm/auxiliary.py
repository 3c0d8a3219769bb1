"""Losses of counterfactual training: agreement of predictors with the counterfactual (De Sousa Ribeiro et al. 2023).

Attributes and predictors are frozen; the image mechanism learns through the image alone.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from prism_jax.scm import predictions
from prism_jax.scm.graph import Attributes, Graph
from prism_jax.scm.predictions import Outputs


def hard_loss(graph: Graph, outputs: Outputs, targets: Attributes) -> jax.Array:
    """-log q of all counterfactual attributes `targets` [b] together, mean over the batch.

    It also drives attributes without intervention to certainty: attribute amplification.
    """
    return -jnp.mean(sum(predictions.log_prob(graph, outputs, targets).values()))


def soft_loss(
    graph: Graph, outputs: Outputs, targets: Attributes, factual: Outputs, affected: Mapping[str, jax.Array]
) -> jax.Array:
    """The soft loss against amplification (Xia et al. 2024), for attributes without intervention.

    A discrete attribute's target is its class in `targets` where it is `affected` (set, or a descendant: bool [] or
    [b]), else the prediction for the factual image (`factual`). Squared error in the scaled unit for
    continuous attributes, whose targets are always hard; cross entropy for classes; summed, mean over the batch.
    """
    total = 0.0
    for name, output in outputs.items():
        kind = graph[name].values
        if not kind.classes:
            total += jnp.mean((output[:, 0] - kind.scaled(targets[name])) ** 2)
            continue
        is_hard = jnp.broadcast_to(affected[name], (len(output),))[:, None]
        soft = jax.lax.stop_gradient(jax.nn.softmax(predictions.logits(factual[name])))
        target = jnp.where(is_hard, jax.nn.one_hot(kind.scaled(targets[name]), kind.classes), soft)
        total += jnp.mean(optax.softmax_cross_entropy(predictions.logits(output), target))
    return total


def lagrangian(
    auxiliary: jax.Array, negative_elbo: jax.Array, multiplier: jax.Array, *, limit: float, damping: float
) -> jax.Array:
    """Damped Lagrangian of minimising `auxiliary` subject to `negative_elbo` <= limit (Platt and Barr 1987).

    Its gradient in the negative ELBO is multiplier + damping (negative_elbo - limit); in the multiplier it is
    negative_elbo - limit.
    """
    slack = limit - negative_elbo
    return auxiliary - (multiplier - jax.lax.stop_gradient(damping * slack)) * slack


def raised(
    multiplier: jax.Array, gradient: jax.Array, opt_state: optax.OptState, tx: optax.GradientTransformation
) -> tuple[jax.Array, optax.OptState]:
    """The multiplier after one step uphill along `gradient`, at least 0, and the optimizer's state."""
    change, opt_state = tx.update(-gradient, opt_state, multiplier)
    return jnp.maximum(optax.apply_updates(multiplier, change), 0.0), opt_state


def random_intervention(
    graph: Graph, attributes: Attributes, key: jax.Array
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """One attribute of the graph, drawn evenly, is set to its values in the batch in another order.

    Returns `given` and `chosen` as `AttributeModel.intervene` takes them: one program for every attribute.
    """
    which, order = jax.random.split(key)
    places = jax.random.permutation(order, len(attributes[graph.names[0]]))
    number = jax.random.randint(which, (), 0, len(graph.names))
    given = {name: jnp.asarray(attributes[name])[places] for name in graph.names}
    return given, {name: number == i for i, name in enumerate(graph.names)}
