"""Strength sweep: an edit at several strengths, and selection of the best candidate."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prism_jax import editing
from prism_jax.data.captions.phrases import spoken
from prism_jax.data.targets import AGE, state_asked
from prism_jax.metrics.classification import CUT

SCORES = ("image", "source_text", "text", "direction")  # fields of `ClipScores`
BEST_BY = "direction"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Lowest scores with which a candidate passes; defaults are PRISM's."""

    image: float = 0.6
    """Edited image and source image."""
    text: float = 0.1
    """Each image and its own prompt."""
    direction: float = -0.5
    """Change of the image and change of the prompt."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """Strengths to try for every edit, all in one batch, and the criteria that select among them."""

    clip: str
    """Folder of a transformers CLIPModel with its tokenizer, to score the candidates."""
    self_steps: tuple[float, ...] = ()
    """Fractions of the steps that reuse the source's self-attention; empty: that of the edit."""
    guidance: tuple[float, ...] = ()
    """Guidance values of the edit; empty: that of the inversion."""
    thresholds: Thresholds = Thresholds()
    classifier: str | None = None
    """Folder of a classifier; candidates in which it does not recognise the requested attributes are refused."""

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
    """One edit at one strength, with its scores."""

    edit: editing.Edit
    is_finite: bool
    scores: dict[str, float] = dataclasses.field(default_factory=dict)  # CLIP similarities
    flips: bool | None = None  # whether a classifier recognises the requested attributes; None: no classifier
    refusals: tuple[str, ...] = ()

    def record(self, guidance: float) -> dict[str, Any]:
        """Record for the manifest; `guidance` is that of the inversion."""
        own = guidance if self.edit.guidance is None else self.edit.guidance
        strengths = {"self_steps": self.edit.self_steps, "cross_steps": self.edit.cross_steps, "guidance": own}
        return strengths | {"scores": self.scores, "flips": self.flips, "refusals": list(self.refusals)}


def select(candidates: Sequence[Candidate], thresholds: Thresholds) -> tuple[int | None, list[Candidate]]:
    """The candidate with the highest directional similarity among those that pass, the first of equal ones, or None;
    and all candidates with the reasons why they were refused.

    The loops published with LANCE and PRISM mean the same, but reset the best value for every setting they try, and so
    keep the last candidate that passes. A score equal to its limit passes, NaN never. A candidate without scores is
    accepted if it is finite.
    """
    judged = [dataclasses.replace(c, refusals=_refusals(c, thresholds)) for c in candidates]
    passing = [i for i, candidate in enumerate(judged) if not candidate.refusals]
    return max(passing, key=lambda i: judged[i].scores.get(BEST_BY, 0.0), default=None), judged


def _refusals(candidate: Candidate, thresholds: Thresholds) -> tuple[str, ...]:
    if not candidate.scores:
        return () if candidate.is_finite else ("the edit is not finite; use float32",)
    reasons = []
    for name in SCORES:
        value = candidate.scores[name] if candidate.is_finite else math.nan
        limit = thresholds.text if name == "source_text" else getattr(thresholds, name)
        if math.isnan(value):
            reasons.append(f"{name} is NaN, limit {limit:g}")
        elif value < limit:
            reasons.append(f"{name} {value:.4g} < {limit:g}")
    if candidate.flips is False:
        reasons.append("classifier does not find the wanted label")
    return tuple(reasons)


def flips_of(values: Mapping[str, Any], targets: Sequence[str], probabilities: np.ndarray) -> np.ndarray:
    """bool [...]: True if a classifier recognises all attributes that an edit requests, from its `probabilities`.

    Args:
      values: what the edit sets, as `EditSpec.values` returns it; ages and findings left unmentioned are not checked.
      targets: attributes that the classifier predicts.
      probabilities: [..., n] of the targets, in their order.

    Raises:
      ValueError: the classifier does not predict an edited attribute.
    """
    wanted = {name: state_asked(name, value) for name, value in values.items() if name != AGE}
    wanted = {name: state for name, state in wanted.items() if state is not None}
    place_of = {spoken(target): place for place, target in enumerate(targets)}
    unknown = [name for name in wanted if spoken(name) not in place_of]
    if unknown:
        raise ValueError(f"the classifier does not know {', '.join(unknown)}; it knows {', '.join(targets)}")
    positive = np.asarray(probabilities) >= CUT  # [..., n]
    hits = [positive[..., place_of[spoken(name)]] == state for name, state in wanted.items()]
    return np.logical_and.reduce(hits) if hits else np.ones(positive.shape[:-1], bool)
