"""Counterfactuals of a structural causal model: abduction, action, prediction."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax import rng
from prism_jax.data.captions import phrases
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.schema import FINDING, Attributes
from prism_jax.evaluation.benchmark.methods import CausalModel
from prism_jax.evaluation.benchmark.queries import Query
from prism_jax.models.hvae import HVAE
from prism_jax.pixels import from_uint8, to_uint8
from prism_jax.scm import folder, image_mechanism, observations
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.graph import Graph, Node
from prism_jax.scm.image_mechanism import CounterfactualConfig
from prism_jax.weights import hvae

NO_FINDING = "no finding"  # the class of a graph whose classes are findings


@dataclasses.dataclass(frozen=True, kw_only=True)
class CausalEditor:
    """One image mechanism with its attribute mechanisms."""

    method: CausalModel
    image: HVAE
    attributes: AttributeModel

    @property
    def size(self) -> int:
        return self.image.config.size

    def expected(self, queries: Sequence[Query]) -> list[Attributes]:
        """The target; in graph mode its descendants follow, by the abducted noise of each subject."""
        if self.method.mode == "surgical":
            return [query.target for query in queries]
        graph = self.attributes.graph
        before, after = columns([a.source for a in queries], graph), columns([a.target for a in queries], graph)
        noise = self.attributes.abduct(before, self._keys(queries, "attributes"))
        chosen = {name: jnp.asarray(before[name] != after[name]) for name in graph.names}
        values = jax.device_get(self.attributes.intervene(before, after, chosen, noise))
        return [
            restated(query.target, graph, {n: values[n][i] for n in graph.names if values[n][i] != after[n][i]})
            for i, query in enumerate(queries)
        ]

    def generate(self, images: np.ndarray, queries: Sequence[Query]) -> np.ndarray:
        graph = self.attributes.graph
        parents = [graph.parents_vector(columns([getattr(a, k) for a in queries], graph)) for k in ("source", "target")]
        x = from_uint8(jnp.asarray(images))[..., None]  # [b, h, w, 1]
        images = _counterfactual(
            self.image, x, *parents, self._keys(queries, "image"), config=self.method.counterfactual
        )
        return to_uint8(np.asarray(images)[..., 0])

    def _keys(self, queries: Sequence[Query], stream: str) -> jax.Array:
        ids = rng.example_ids(np.array([query.subject.index for query in queries]))
        return rng.per_example(rng.stream(rng.key(self.method.seed), stream), ids)


def load(method: CausalModel) -> CausalEditor:
    """Loads the first image mechanism and the attribute mechanisms of a method."""
    return CausalEditor(method=method, image=hvae.load(method.images[0]), attributes=folder.load(method.mechanisms))


def columns(attributes: Sequence[Attributes], graph: Graph) -> dict[str, np.ndarray]:
    """The values [n] of the graph's attributes; ValueError where one is unknown or out of range."""
    rows = [_observed(each, graph) for each in attributes]
    for each, row in zip(attributes, rows, strict=True):
        if row is None:
            raise ValueError(
                f"{PLAIN.describe(each)!r} does not give all of {', '.join(graph.names)}, or one is out of range"
            )
    return observations.columns(rows, graph)


def _observed(attributes: Attributes, graph: Graph) -> dict[str, float] | None:
    """Like `observe`; if every named finding is absent, "no finding" is set to true."""
    observed = observations.observe(attributes, graph)
    if observed is None and not any(state is not False for state in attributes.findings.values()):
        none = dataclasses.replace(attributes, findings={**attributes.findings, FINDING: False})
        observed = observations.observe(none, graph)
    return observed


def restated(attributes: Attributes, graph: Graph, values: Mapping[str, float]) -> Attributes:
    """The attributes updated with these values of a graph; the inverse of `observations.observe`."""
    change: dict[str, object] = {}
    for name, value in values.items():
        change |= _stated(graph[name], value, attributes)
    return phrases.changed(attributes, change)


def _stated(node: Node, value: float, attributes: Attributes) -> dict[str, object]:
    if not node.values.classes:
        return {node.name: float(value)}
    chosen = node.values.names[int(value)]
    if node.name == "sex":
        return {"sex": chosen[0].upper()}
    if node.name in phrases.SLOTS:
        return {node.name: chosen}
    said = phrases.spoken(node.name)
    if said != FINDING and said in map(phrases.spoken, attributes.findings):
        return {node.name: bool(value)}
    findings = {name: name == chosen for name in node.values.names if name != NO_FINDING}
    return findings | {FINDING: False if chosen == NO_FINDING else None}


@partial(jax.jit, static_argnames="config")
def _counterfactual(
    model: HVAE, x: jax.Array, parents: jax.Array, changed: jax.Array, keys: jax.Array, *, config: CounterfactualConfig
) -> jax.Array:
    return image_mechanism.counterfactual(model, x, parents, changed, keys, config=config).images
