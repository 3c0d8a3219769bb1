"""Trying an edit at several strengths, and choosing the counterfactual that is kept."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prism_jax import editing
from prism_jax.data.captions.phrases import spoken
from prism_jax.data.schema import Attributes
from prism_jax.data.targets import SEX, VIEW, state_of
from prism_jax.metrics.choice import Thresholds, choose
from prism_jax.metrics.classification import CUT

AGE = "age"  # no classifier says yes or no to it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """The strengths to try of every edit, all in one batch, and what chooses among them."""

    clip: str
    """Folder of a transformers CLIPModel with its tokenizer, which scores the candidates."""
    self_steps: tuple[float, ...] = ()
    """Shares of the steps that keep the source's layout; none: that of the change."""
    guidance: tuple[float, ...] = ()
    """Guidance of the edit; none: that of the inversion."""
    thresholds: Thresholds = Thresholds()
    classifier: str | None = None
    """Folder of a classifier: candidates in which it does not find what the edit asks for are refused."""

    @property
    def count(self) -> int:
        """Candidates of one edit."""
        return max(len(self.self_steps), 1) * max(len(self.guidance), 1)

    def candidates(self, edit: editing.Edit) -> list[editing.Edit]:
        """The edit at every combination of strengths."""
        grid = itertools.product(self.self_steps or (edit.self_steps,), self.guidance or (edit.guidance,))
        return [dataclasses.replace(edit, self_steps=s, guidance=g) for s, g in grid]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """One edit that was made, and what was found of it."""

    edit: editing.Edit
    is_finite: bool
    scores: dict[str, float] = dataclasses.field(default_factory=dict)  # CLIP similarities
    flips: bool | None = None  # whether a classifier finds what was asked for; None: not asked
    refusals: tuple[str, ...] = ()

    def told(self, guidance: float) -> dict[str, Any]:
        """For the manifest; `guidance` is that of the inversion."""
        own = guidance if self.edit.guidance is None else self.edit.guidance
        strengths = {"self_steps": self.edit.self_steps, "cross_steps": self.edit.cross_steps, "guidance": own}
        return strengths | {"scores": self.scores, "flips": self.flips, "refusals": list(self.refusals)}


def judged(candidates: Sequence[Candidate], thresholds: Thresholds) -> tuple[int | None, list[Candidate]]:
    """The best candidate by its scores, or None, and all with the reasons for which they were refused.

    A candidate without scores is the only one, and is taken unless its numbers are not finite.
    """
    best, refusals = 0, [()] * len(candidates)
    if candidates[0].scores:
        columns = {name: np.array([c.scores[name] for c in candidates]) for name in candidates[0].scores}
        finite = np.array([c.is_finite for c in candidates])
        columns = {name: np.where(finite, column, np.nan) for name, column in columns.items()}
        flips = [c.flips for c in candidates]
        choice = choose(columns, thresholds, flips=None if None in flips else np.array(flips))
        best, refusals = choice.best, choice.refusals
    elif not candidates[0].is_finite:
        best, refusals = None, [("the edit is not finite; use float32",)]
    return best, [dataclasses.replace(c, refusals=r) for c, r in zip(candidates, refusals, strict=True)]


def flips_of(values: Mapping[str, Any], targets: Sequence[str], probabilities: np.ndarray) -> np.ndarray:
    """bool [...]: whether a classifier finds all that an edit asks for, in images of which it gave `probabilities`.

    Args:
      values: what the edit sets, as `EditSpec.values` gives it; an age is not asked for, nor a finding left unsaid.
      targets: what the classifier knows.
      probabilities: [..., n] of the targets, in their order.

    Raises:
      ValueError: the classifier does not know what the edit sets.
    """
    wanted = {name: state_of(name, _as_attributes(name, value)) for name, value in values.items() if name != AGE}
    wanted = {name: state for name, state in wanted.items() if state is not None}
    known = {spoken(target): place for place, target in enumerate(targets)}
    unknown = [name for name in wanted if spoken(name) not in known]
    if unknown:
        raise ValueError(f"the classifier does not know {', '.join(unknown)}; it knows {', '.join(targets)}")
    found = np.asarray(probabilities) >= CUT  # [..., n]
    hits = [found[..., known[spoken(name)]] == state for name, state in wanted.items()]
    return np.logical_and.reduce(hits) if hits else np.ones(found.shape[:-1], bool)


def _as_attributes(name: str, value: Any) -> Attributes:
    return Attributes(**{name: value}) if name in (SEX, VIEW) else Attributes(findings={name: value})
