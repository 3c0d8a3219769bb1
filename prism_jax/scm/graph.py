"""A causal graph as data: attributes, their values, parents and mechanisms.

Outside the model an attribute is in its own unit: a continuous one float32 [b] (years, pixels, grey levels), a discrete
one the number of its class, int32 [b]. Inside, a continuous one is scaled so that its range is [-1, 1]; as a parent, a
discrete one of two classes is 0 or 1, and one of more is one-hot.
"""

import dataclasses
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax.scm.gumbel import GumbelMax
from prism_jax.scm.mechanisms import AffineFlow, SplineFlow

Attributes = Mapping[str, jax.Array]  # by name, each [b] in its own unit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Continuous:
    """A quantity from `low` to `high`, which are scaled to -1 and 1 inside the model."""

    low: float
    high: float
    unit: str = ""

    width = 1  # channels as a parent
    classes = 0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"a quantity from {self.low} to {self.high}; low must be below high")

    def scaled(self, value: jax.Array) -> jax.Array:
        return (jnp.asarray(value, jnp.float32) - self.low) / (self.high - self.low) * 2 - 1

    def unscaled(self, value: jax.Array) -> jax.Array:
        return (value + 1) / 2 * (self.high - self.low) + self.low

    def encoded(self, value: jax.Array) -> jax.Array:
        """float32 [b, 1] for the networks that have it as a parent."""
        return self.scaled(value)[:, None]

    def misfit(self, value: np.ndarray) -> np.ndarray:
        """True where a value is out of range."""
        value, low, high = (np.asarray(x, np.float32) for x in (value, self.low, self.high))  # as data are stored
        return ~((value >= low) & (value <= high))

    @property
    def limits(self) -> str:
        return f"{self.low:g} to {self.high:g} {self.unit}".rstrip()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Discrete:
    """One of named classes, in the order of their numbers."""

    names: tuple[str, ...] = ("no", "yes")

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise ValueError(f"classes {self.names} must be two or more")

    @property
    def classes(self) -> int:
        return len(self.names)

    @property
    def width(self) -> int:
        """Channels as a parent."""
        return 1 if self.classes == 2 else self.classes

    def scaled(self, value: jax.Array) -> jax.Array:
        return jnp.asarray(value).astype(jnp.int32)

    def unscaled(self, value: jax.Array) -> jax.Array:
        return value

    def encoded(self, value: jax.Array) -> jax.Array:
        """float32 [b, width] for the networks that have it as a parent."""
        value = self.scaled(value)
        return value[:, None].astype(jnp.float32) if self.classes == 2 else jax.nn.one_hot(value, self.classes)

    def misfit(self, value: np.ndarray) -> np.ndarray:
        """True where a value is not the number of a class."""
        return ~np.isin(value, range(self.classes))

    @property
    def limits(self) -> str:
        return ", ".join(f"{i} ({name})" for i, name in enumerate(self.names))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """One attribute: name := mechanism(parents, noise)."""

    name: str
    values: Continuous | Discrete
    mechanism: SplineFlow | AffineFlow | GumbelMax
    parents: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        is_discrete = isinstance(self.values, Discrete)
        if is_discrete != isinstance(self.mechanism, GumbelMax):
            kind, remedy = ("discrete", "GumbelMax") if is_discrete else ("continuous", "SplineFlow or AffineFlow")
            raise ValueError(f"{self.name} is {kind} but has a {type(self.mechanism).__name__}; use {remedy}")
        if self.parents and isinstance(self.mechanism, SplineFlow):
            raise ValueError(f"{self.name} has parents, which a SplineFlow does not take; use AffineFlow")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Graph:
    """Attributes in any order, and those that are parents of the image, in the order of its parents vector."""

    nodes: tuple[Node, ...]
    image_parents: tuple[str, ...]

    def __post_init__(self) -> None:
        names = [node.name for node in self.nodes]
        if len(set(names)) < len(names):
            raise ValueError(f"attributes {', '.join(names)} repeat a name; each needs its own")
        for child, parents in (*((node.name, node.parents) for node in self.nodes), ("the image", self.image_parents)):
            unknown = [name for name in parents if name not in names]
            if unknown:
                raise ValueError(f"{child} has the unknown parent {unknown[0]!r}; the graph has {', '.join(names)}")
        try:
            TopologicalSorter(self._parents).prepare()
        except CycleError as error:
            circle = " -> ".join(reversed(error.args[1]))
            raise ValueError(f"the graph has a cycle, {circle}; take one of its arrows out") from None

    @property
    def _parents(self) -> dict[str, tuple[str, ...]]:
        return {node.name: node.parents for node in self.nodes}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.nodes)

    @property
    def order(self) -> tuple[Node, ...]:
        """The nodes, parents before children."""
        return tuple(self[name] for name in TopologicalSorter(self._parents).static_order())

    @property
    def width(self) -> int:
        """Channels of the image's parents vector."""
        return sum(self[name].values.width for name in self.image_parents)

    def __getitem__(self, name: str) -> Node:
        """The node of that name; ValueError if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise ValueError(f"no attribute {name!r} in the graph; it has {', '.join(self.names)}")

    def encoded(self, attributes: Attributes, names: tuple[str, ...], count: int) -> jax.Array:
        """float32 [b, channels]: encoded values of `names`, in that order; `count` is b, names may be none."""
        parts = [self[name].values.encoded(attributes[name]) for name in names]
        return jnp.concatenate([jnp.zeros((count, 0)), *parts], axis=1)

    def parents_vector(self, attributes: Attributes) -> jax.Array:
        """float32 [b, width]: the encoded parents of the image."""
        return self.encoded(attributes, self.image_parents, len(attributes[self.image_parents[0]]))

    def check(self, values: Mapping[str, jax.Array | np.ndarray | float], *, observed: bool = False) -> None:
        """Raises ValueError for an unknown attribute, or a value out of its range; traced values are not checked.

        An observed quantity may be beyond its range where its mechanism reaches there; one that is set may not.
        """
        for name, value in values.items():
            node = self[name]
            if isinstance(value, jax.core.Tracer):
                continue
            value = np.atleast_1d(np.asarray(value, np.float64))
            is_free = observed and not node.values.classes and not node.mechanism.is_squashed
            wrong = value[~np.isfinite(value) if is_free else node.values.misfit(value)]
            if len(wrong):
                raise ValueError(f"{name} cannot be {wrong[0]:g}; give {node.values.limits}")
