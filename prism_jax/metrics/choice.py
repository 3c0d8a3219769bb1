"""Selection among candidate counterfactuals of one image by their scores. NumPy, on the host."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Lowest scores with which a candidate passes; defaults are PRISM's."""

    image: float = 0.6  # edited image and source image
    text: float = 0.1  # each image and its own prompt
    direction: float = -0.5  # change of the image and change of the prompt

    def of(self, score: str) -> float:
        """The limit of a score by its name in `SCORES`."""
        return self.text if score == "source_text" else getattr(self, score)


SCORES = ("image", "source_text", "text", "direction")
OPTIONAL = frozenset({"source_text"})
BEST_BY = "direction"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen candidate: `best` is an index, or None where no candidate passes.

    `refusals` has an entry for every candidate, empty for those that pass.
    """

    best: int | None
    refusals: tuple[tuple[str, ...], ...]


def choose(
    scores: Mapping[str, np.ndarray], thresholds: Thresholds | None = None, *, flips: np.ndarray | None = None
) -> Choice:
    """The candidate with the highest directional similarity among those that pass every threshold.

    The loops published with LANCE and PRISM mean the same, but reset the best value for every setting they try, and
    so keep the last candidate that passes. Equal directions: the first is chosen. NaN never passes.

    Args:
      scores: `[c]` each: "image", "text", "direction" and, if known, "source_text" (`ClipScores.candidates`).
      thresholds: the limits, `Thresholds()` if none; a score equal to its limit passes.
      flips: bool `[c]`, True where a classifier finds the wanted label in the candidate (PRISM's consistency).

    Raises:
      ValueError: a score is missing or unknown, lengths differ, `flips` is not boolean.
    """
    thresholds = thresholds or Thresholds()
    columns = _columns(scores, flips)
    count = len(columns[BEST_BY])
    refusals = tuple(_reasons(columns, i, thresholds, flips) for i in range(count))
    passing = [i for i in range(count) if not refusals[i]]
    best = max(passing, key=lambda i: columns[BEST_BY][i], default=None)  # the first of equal ones
    return Choice(best=best, refusals=refusals)


def _reasons(
    columns: Mapping[str, np.ndarray], i: int, thresholds: Thresholds, flips: np.ndarray | None
) -> tuple[str, ...]:
    reasons = []
    for name, column in columns.items():
        value, limit = float(column[i]), thresholds.of(name)
        if np.isnan(value):
            reasons.append(f"{name} is NaN, limit {limit:g}")
        elif value < limit:
            reasons.append(f"{name} {value:.4g} < {limit:g}")
    if flips is not None and not flips[i]:
        reasons.append("classifier does not find the wanted label")
    return tuple(reasons)


def _columns(scores: Mapping[str, np.ndarray], flips: np.ndarray | None) -> dict[str, np.ndarray]:
    """The scores as float64 `[c]` in the order of `SCORES`, once everything fits."""
    missing, unknown = sorted({*SCORES} - OPTIONAL - {*scores}), sorted({*scores} - {*SCORES})
    if missing or unknown:
        raise ValueError(f"scores: missing {missing}, unknown {unknown}; give {list(SCORES)}, source_text if known")
    columns = {name: np.asarray(scores[name], np.float64) for name in SCORES if name in scores}
    shapes = {name: column.shape for name, column in columns.items()}
    if flips is not None:
        if np.asarray(flips).dtype != bool:
            raise ValueError(f"flips are {np.asarray(flips).dtype}; give one bool per candidate")
        shapes["flips"] = np.shape(flips)
    if len(set(shapes.values())) > 1 or len(shapes[BEST_BY]) != 1:
        raise ValueError(f"scores have the shapes {shapes}; give one number per candidate in each")
    return columns
