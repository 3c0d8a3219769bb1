"""Mixtures of data sets by weight, and class-balanced sampling within one data set."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from prism_jax.data import schema
from prism_jax.data.loading import sampler

RESOLUTION = 10**6  # weights are whole numbers, the smallest at least this


@dataclasses.dataclass(frozen=True, kw_only=True)
class Component:
    """One data set of a mixture."""

    examples: Sequence[schema.Example]
    weight: float = 1.0  # of its draws relative to the other data sets, whatever its size
    classes: np.ndarray | None = None  # int [n]: each class gets the same number of draws; -1 is never drawn

    def __post_init__(self):
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"weight must be above 0, got {self.weight}; leave the data set out instead")
        if len(self.examples) == 0:
            raise ValueError("a data set of the mixture is empty; leave it out")
        if self.classes is None:
            return
        if len(self.classes) != len(self.examples):
            raise ValueError(f"{len(self.classes)} classes for {len(self.examples)} examples; give one each")
        if not (np.asarray(self.classes) >= 0).any():
            raise ValueError("no example belongs to a class, so nothing can be drawn")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
    """Data sets that are sampled together, without end."""

    components: tuple[Component, ...]

    def __post_init__(self):
        if not self.components:
            raise ValueError("a mixture needs at least one data set")


def weighted_sampler(mixture: Mixture, *, slots: int, seed: int) -> sampler.WeightedSampler:
    """The sampler of a mixture; `slots` is the size of a batch over all processes."""
    groups = [_groups(component) for component in mixture.components]
    weights = [component.weight / len(own) for component, own in zip(mixture.components, groups, strict=True)]
    pools = tuple(
        sampler.Pool(dataset=number, indices=group, weight=round(RESOLUTION * weights[number] / min(weights)))
        for number, own in enumerate(groups)
        for group in own
    )
    return sampler.WeightedSampler(pools=pools, slots=slots, seed=seed)


def _groups(component: Component) -> list[Sequence[int] | np.ndarray]:
    """The examples of each class, by index."""
    if component.classes is None:
        return [range(len(component.examples))]
    classes = np.asarray(component.classes)
    return [np.flatnonzero(classes == name) for name in np.unique(classes[classes >= 0])]
