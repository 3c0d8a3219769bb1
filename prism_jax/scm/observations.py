"""Values of a causal graph's attributes, from the attributes of an example."""

import sys
from collections.abc import Mapping, Sequence

import numpy as np

from prism_jax.data import schema
from prism_jax.data.captions import phrases
from prism_jax.data.schema import FINDING
from prism_jax.scm.graph import Graph, Node

SEX = {"M": ("M", "male"), "F": ("F", "female")}  # as data sets store it: as graphs may call it


def observe(attributes: schema.Attributes, graph: Graph) -> dict[str, float] | None:
    """A value for every attribute of `graph`, in its own unit or the number of its class; None where one is unknown.

    `age`, `sex`, `view` and `race` are those slots; another name is a finding that is stated to be there or not. Where
    the data set has no finding of that name, its classes are findings: the one that is there, alone, or "no finding".
    """
    values = {node.name: _value(node, attributes) for node in graph.nodes}
    fits = lambda name, value: value is not None and not graph[name].values.misfit(np.array(value))
    return values if all(fits(*item) for item in values.items()) else None


def observe_all(source: Sequence[schema.Example], graph: Graph, name: str) -> tuple[list[int], dict[str, np.ndarray]]:
    """Places of the examples that state every attribute of `graph`, and the `columns` of these; images stay undecoded.

    Prints how many are left out.

    Raises:
      ValueError: there are none; `name` is the source in the message.
    """
    rows = {i: observe(source[i].attributes, graph) for i in range(len(source))}
    known = {i: row for i, row in rows.items() if row is not None}
    if not known:
        raise ValueError(f"no image of {name} has all of {', '.join(graph.names)}; use another graph or data set")
    if len(known) < len(rows):
        print(f"{len(rows) - len(known)} of {len(rows)} images of {name} left out: attributes unknown", file=sys.stderr)
    return list(known), columns(list(known.values()), graph)


def columns(observed: Sequence[Mapping[str, float]], graph: Graph) -> dict[str, np.ndarray]:
    """Rows of `observe` as arrays [n] by attribute: float32, int32 for classes."""
    dtype = lambda name: np.int32 if graph[name].values.classes else np.float32
    return {name: np.array([row[name] for row in observed], dtype(name)) for name in graph.names}


def _value(node: Node, attributes: schema.Attributes) -> float | None:
    if node.name == "age":
        return attributes.age
    if node.name == "sex":
        return _place(node, SEX.get(attributes.sex, ()))
    if node.name in ("view", "race"):
        return _place(node, (getattr(attributes, node.name) or "",), is_prefix=True)
    known = {phrases.spoken(name): state for name, state in attributes.findings.items()}
    if phrases.spoken(node.name) in known and phrases.spoken(node.name) != FINDING:
        state = known[phrases.spoken(node.name)]
        return None if state is None else int(state)
    return _place(node, _only(known))


def _only(known: Mapping[str, bool | None]) -> tuple[str, ...]:
    """The only finding present, or "no finding"; empty if there are several, or one is uncertain."""
    there = [name for name, state in known.items() if state is not False]
    if not there:
        return ("no finding",) if known.get(FINDING) is False else ()
    return tuple(there) if len(there) == 1 and known[there[0]] else ()


def _place(node: Node, words: Sequence[str], *, is_prefix: bool = False) -> int | None:
    """The class that one of `words` names, or begins with ("Black or African American"); None where none does."""
    for place, name in enumerate(node.values.names):
        for word in words:
            if word.lower() == name.lower() or (is_prefix and word.lower().startswith(name.lower())):
                return place
    return None
