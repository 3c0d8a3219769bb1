"""Counterfactual attributes by abduction, action and prediction (Pearl 2009, section 7.1)."""

from collections.abc import Mapping
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from prism_jax import rng
from prism_jax.scm.graph import Attributes, Graph, Node


@struct.dataclass
class AttributeModel:
    """A causal graph with the parameters of its mechanisms; a pytree.

    Random draws take `keys` [b], one for each example (`rng.per_example`): they do not depend on the batch.
    """

    params: dict[str, Any]  # by attribute
    graph: Graph = struct.field(pytree_node=False)

    @classmethod
    def create(cls, graph: Graph, key: jax.Array) -> "AttributeModel":
        """The model with initial parameters."""
        widths = {node.name: sum(graph[name].values.width for name in node.parents) for node in graph.nodes}
        params = {
            node.name: node.mechanism.init(rng.stream(key, node.name), widths[node.name], node.values.classes)
            for node in graph.nodes
        }
        return cls(params=params, graph=graph)

    def log_prob(self, attributes: Attributes) -> dict[str, jax.Array]:
        """Of each attribute given its parents, [b]: a log probability, or a log density in the unit of [-1, 1]."""
        return {
            node.name: node.mechanism.log_prob(self.params[node.name], *self._seen(node, attributes))
            for node in self.graph.nodes
        }

    def sample(self, keys: jax.Array) -> dict[str, jax.Array]:
        """Attributes of one drawn subject for each of `keys` [b], each in its own unit."""
        values: dict[str, jax.Array] = {}
        for node in self.graph.order:
            noise = node.mechanism.draw(_streams(keys, node.name), node.values.classes)
            values[node.name] = self._predict(node, noise, values)
        return values

    def abduct(self, attributes: Attributes, keys: jax.Array) -> dict[str, jax.Array]:
        """The noise of each attribute, given all of them: exact where continuous, a posterior draw where discrete."""
        self.check(attributes)
        noise = {}
        for node in self.graph.nodes:
            seen = self._seen(node, attributes)
            noise[node.name] = node.mechanism.abduct(self.params[node.name], *seen, _streams(keys, node.name))
        return noise

    def counterfactual(
        self, attributes: Attributes, do: Mapping[str, jax.Array | float], keys: jax.Array
    ) -> dict[str, jax.Array]:
        """Counterfactual `attributes` under the intervention `do` (values [] or [b]), in their own units.

        Raises:
          ValueError: an attribute that is unknown, missing, or not within its values; traced values are not checked.
        """
        self.graph.check(do)
        given = {name: jnp.broadcast_to(jnp.asarray(value), (len(keys),)) for name, value in do.items()}
        return self.intervene(attributes, given, dict.fromkeys(do, True), self.abduct(attributes, keys))

    def intervene(
        self,
        attributes: Attributes,
        given: Attributes,
        chosen: Mapping[str, bool | jax.Array],
        noise: Mapping[str, jax.Array],
    ) -> dict[str, jax.Array]:
        """The same from abducted `noise`, with `given[name]` set where `chosen[name]` ([] or [b], may be traced).

        Attributes that are neither set nor descendants keep their values exactly; recomputing them would round.
        """
        touched = self.affected(chosen)
        values: dict[str, jax.Array] = {}
        for node in self.graph.order:
            name = node.name
            replayed = self._predict(node, noise[name], values)
            value = jnp.where(touched[name], replayed, _typed(node, attributes[name]))
            if name in chosen:
                value = jnp.where(chosen[name], _typed(node, given[name]), value)
            values[name] = value
        return values

    def affected(self, chosen: Mapping[str, bool | jax.Array]) -> dict[str, jax.Array]:
        """Attributes that are chosen or have a chosen ancestor: bool [] or [b] by name."""
        touched: dict[str, jax.Array] = {}
        for node in self.graph.order:
            reasons = (touched[parent] for parent in node.parents)
            touched[node.name] = reduce(jnp.logical_or, reasons, jnp.asarray(chosen.get(node.name, False)))
        return touched

    def check(self, attributes: Attributes) -> None:
        """Raises ValueError for an attribute that is missing or out of range; traced values are not checked."""
        missing = [name for name in self.graph.names if name not in attributes]
        if missing:
            raise ValueError(f"attributes lack {', '.join(missing)}; abduction needs all attributes of the graph")
        self.graph.check({name: attributes[name] for name in self.graph.names}, observed=True)

    def _seen(self, node: Node, attributes: Attributes) -> tuple[jax.Array, jax.Array]:
        """The scaled value [b] of `node` and its encoded parents [b, inputs]."""
        value = node.values.scaled(attributes[node.name])
        return value, self.graph.encoded(attributes, node.parents, len(value))

    def _predict(self, node: Node, noise: jax.Array, values: Attributes) -> jax.Array:
        parents = self.graph.encoded(values, node.parents, len(noise))
        return node.values.unscaled(node.mechanism.predict(self.params[node.name], noise, parents))


def _streams(keys: jax.Array, name: str) -> jax.Array:
    return jax.vmap(partial(rng.stream, name=name))(keys)


def _typed(node: Node, value: jax.Array) -> jax.Array:
    return jnp.asarray(value).astype(jnp.int32 if node.values.classes else jnp.float32)
