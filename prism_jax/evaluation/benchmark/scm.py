"""Counterfactuals of a structural causal model: abduct the noise of a picture, act on its parents, predict."""

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
from prism_jax.evaluation.benchmark.queries import Ask
from prism_jax.models.hvae import HVAE
from prism_jax.pixels import from_uint8, to_uint8
from prism_jax.scm import folder, image_mechanism, observations
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.graph import Graph, Node
from prism_jax.scm.image_mechanism import CounterfactualConfig
from prism_jax.weights import hvae

NO_FINDING = "no finding"  # the class of a graph whose classes are findings


@dataclasses.dataclass(frozen=True, kw_only=True)
class CausalMaker:
    """One image mechanism of a row, with its attribute mechanisms."""

    row: CausalModel
    image: HVAE
    attributes: AttributeModel

    @property
    def size(self) -> int:
        return self.image.config.size

    def shown(self, asks: Sequence[Ask]) -> list[Attributes]:
        """What is wanted; in graph mode its descendants follow, by the noise of each subject."""
        if self.row.mode == "surgical":
            return [ask.wanted for ask in asks]
        graph = self.attributes.graph
        before, after = columns([a.stated for a in asks], graph), columns([a.wanted for a in asks], graph)
        noise = self.attributes.abduct(before, self._keys(asks, "attributes"))
        chosen = {name: jnp.asarray(before[name] != after[name]) for name in graph.names}
        found = jax.device_get(self.attributes.intervene(before, after, chosen, noise))
        return [
            restated(ask.wanted, graph, {n: found[n][i] for n in graph.names if found[n][i] != after[n][i]})
            for i, ask in enumerate(asks)
        ]

    def make(self, pictures: np.ndarray, asks: Sequence[Ask]) -> np.ndarray:
        graph = self.attributes.graph
        parents = [graph.parents_vector(columns([getattr(a, k) for a in asks], graph)) for k in ("stated", "wanted")]
        x = from_uint8(jnp.asarray(pictures))[..., None]  # [b, h, w, 1]
        made = _counterfactual(self.image, x, *parents, self._keys(asks, "image"), config=self.row.counterfactual)
        return to_uint8(np.asarray(made)[..., 0])

    def _keys(self, asks: Sequence[Ask], stream: str) -> jax.Array:
        ids = rng.example_ids(np.array([ask.subject.index for ask in asks]))
        return rng.per_example(rng.stream(rng.key(self.row.seed), stream), ids)


def load(row: CausalModel, images: str) -> CausalMaker:
    """The maker of a row with the image mechanism in the folder `images`."""
    return CausalMaker(row=row, image=hvae.load(images), attributes=folder.load(row.mechanisms))


def columns(attributes: Sequence[Attributes], graph: Graph) -> dict[str, np.ndarray]:
    """The values [n] of the graph's attributes; ValueError where one is not known or cannot be."""
    rows = [_observed(each, graph) for each in attributes]
    for each, row in zip(attributes, rows, strict=True):
        if row is None:
            raise ValueError(f"{PLAIN.describe(each)!r} leaves one of {', '.join(graph.names)} open, or out of range")
    return observations.columns(rows, graph)


def _observed(attributes: Attributes, graph: Graph) -> dict[str, float] | None:
    """As `observe`; where every finding that is named is absent, there is none."""
    found = observations.observe(attributes, graph)
    if found is None and not any(state is not False for state in attributes.findings.values()):
        none = dataclasses.replace(attributes, findings={**attributes.findings, FINDING: False})
        found = observations.observe(none, graph)
    return found


def restated(attributes: Attributes, graph: Graph, values: Mapping[str, float]) -> Attributes:
    """The attributes with these of a graph's values put in; the inverse of `observations.observe`."""
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
