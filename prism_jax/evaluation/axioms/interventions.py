"""Interventions: every attribute in turn, and random sets of them."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from prism_jax.metrics import axioms
from prism_jax.scm.graph import Graph

RANDOM = "random"
TRIES = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Intervention:
    """An intervention on n images."""

    name: str  # of the attribute, or RANDOM
    chosen: Mapping[str, np.ndarray]  # by attribute, bool [n]: whether it is intervened on
    given: Mapping[str, np.ndarray]  # by attribute, [n]: new values in its own unit


def of_graph(
    graph: Graph,
    factual: Mapping[str, np.ndarray],
    marginal: Mapping[str, np.ndarray],
    *,
    seed: int,
    is_different: bool,
) -> list[Intervention]:
    """One intervention per attribute, with values drawn from the `marginal` [m], and one on random sets of attributes.

    Each attribute joins the latter with probability 1/2, again where none does (Melistas et al., NeurIPS 2024).

    Args:
      factual: the values [n] of the images.
      is_different: values are redrawn until they differ: another class, another decile of the marginal.
    """
    draw = np.random.default_rng(seed)
    count = len(factual[graph.names[0]])
    drawn = []
    for name in (*graph.names, RANDOM):
        joins = np.array([[name == other for other in graph.names]] * count)
        while name == RANDOM and (empty := ~joins.any(1)).any():
            joins[empty] = draw.random((int(empty.sum()), len(graph.names))) < 0.5
        given = {other: _drawn(graph, other, factual, marginal, draw, is_different) for other in graph.names}
        chosen = {other: joins[:, i] for i, other in enumerate(graph.names)}
        drawn.append(Intervention(name=name, chosen=chosen, given=given))
    return drawn


def _drawn(
    graph: Graph,
    name: str,
    factual: Mapping[str, np.ndarray],
    marginal: Mapping[str, np.ndarray],
    draw: np.random.Generator,
    is_different: bool,
) -> np.ndarray:
    before, training = factual[name], marginal[name]
    kind = (lambda x: x) if graph[name].values.classes else (lambda x: axioms.deciles(x, training))
    value = draw.choice(training, len(before))
    for _ in range(TRIES if is_different else 0):
        same = kind(value) == kind(before)
        if not same.any():
            return value
        value[same] = draw.choice(training, int(same.sum()))
    if is_different:
        raise ValueError(f"{name} has only one value in training; set is_different to False")
    return value
