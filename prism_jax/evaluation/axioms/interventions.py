"""What is set: every attribute in turn, and some of them at random."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from prism_jax.metrics import axioms
from prism_jax.scm.graph import Graph

RANDOM = "random"
TRIES = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Do:
    """An intervention on n images."""

    name: str  # of the attribute, or RANDOM
    chosen: Mapping[str, np.ndarray]  # by attribute, bool [n]: whether it is set
    given: Mapping[str, np.ndarray]  # by attribute, [n] in its own unit: to what


def of_graph(
    graph: Graph, factual: Mapping[str, np.ndarray], marginal: Mapping[str, np.ndarray], *, seed: int, is_other: bool
) -> list[Do]:
    """One do for each attribute, to values drawn from the `marginal` [m], and one of random sets of attributes.

    Each attribute joins the latter with probability 1/2, again where none does (Melistas et al., NeurIPS 2024).

    Args:
      factual: the values [n] of the images.
      is_other: values are drawn until they differ: another class, another tenth of the marginal.
    """
    draw = np.random.default_rng(seed)
    count = len(factual[graph.names[0]])
    found = []
    for name in (*graph.names, RANDOM):
        joins = np.array([[name == other for other in graph.names]] * count)
        while name == RANDOM and (empty := ~joins.any(1)).any():
            joins[empty] = draw.random((int(empty.sum()), len(graph.names))) < 0.5
        given = {other: _drawn(graph, other, factual, marginal, draw, is_other) for other in graph.names}
        chosen = {other: joins[:, i] for i, other in enumerate(graph.names)}
        found.append(Do(name=name, chosen=chosen, given=given))
    return found


def nothing(graph: Graph, factual: Mapping[str, np.ndarray]) -> Do:
    """The intervention that sets nothing."""
    none = {name: np.zeros(len(factual[name]), bool) for name in graph.names}
    return Do(name="", chosen=none, given=factual)


def back(do: Do, affected: Mapping[str, np.ndarray], factual: Mapping[str, np.ndarray]) -> Do:
    """The way back: what was set, and with it all below it (`affected`, bool [n]), gets its factual value."""
    return Do(name=do.name, chosen=affected, given=factual)


def _drawn(
    graph: Graph,
    name: str,
    factual: Mapping[str, np.ndarray],
    marginal: Mapping[str, np.ndarray],
    draw: np.random.Generator,
    is_other: bool,
) -> np.ndarray:
    before, training = factual[name], marginal[name]
    kind = (lambda x: x) if graph[name].values.classes else (lambda x: axioms.in_bins(x, training))
    value = draw.choice(training, len(before))
    for _ in range(TRIES if is_other else 0):
        same = kind(value) == kind(before)
        if not same.any():
            return value
        value[same] = draw.choice(training, int(same.sum()))
    if is_other:
        raise ValueError(f"{name} has one value alone in training; leave is_other out")
    return value
