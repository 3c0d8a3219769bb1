"""Trying an edit at several strengths, and choosing the counterfactual that is kept."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from prism_jax import editing
from prism_jax.metrics.choice import Thresholds, choose


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
    refusals: tuple[str, ...] = ()

    def told(self, guidance: float) -> dict[str, Any]:
        """For the manifest; `guidance` is that of the inversion."""
        own = guidance if self.edit.guidance is None else self.edit.guidance
        strengths = {"self_steps": self.edit.self_steps, "cross_steps": self.edit.cross_steps, "guidance": own}
        return strengths | {"scores": self.scores, "refusals": list(self.refusals)}


def judged(candidates: Sequence[Candidate], thresholds: Thresholds) -> tuple[int | None, list[Candidate]]:
    """The best candidate by its scores, or None, and all with the reasons for which they were refused.

    A candidate without scores is the only one, and is taken unless its numbers are not finite.
    """
    best, refusals = 0, [()] * len(candidates)
    if candidates[0].scores:
        columns = {name: np.array([c.scores[name] for c in candidates]) for name in candidates[0].scores}
        finite = np.array([c.is_finite for c in candidates])
        columns = {name: np.where(finite, column, np.nan) for name, column in columns.items()}
        choice = choose(columns, thresholds)
        best, refusals = choice.best, choice.refusals
    elif not candidates[0].is_finite:
        best, refusals = None, [("the edit is not finite; use float32",)]
    return best, [dataclasses.replace(c, refusals=r) for c, r in zip(candidates, refusals, strict=True)]
