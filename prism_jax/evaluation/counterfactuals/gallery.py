"""The best, the median and the worst edit of a change, by what is known of them, and by what that is."""

import dataclasses
import json
import math
from collections.abc import Sequence

import numpy as np

from prism_jax.evaluation.counterfactuals.outcomes import Outcome
from prism_jax.metrics.counterfactual import CounterfactualMetrics
from prism_jax.report.tables import number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Merit:
    """By what edits are ranked."""

    by: str
    unit: str
    values: np.ndarray  # [n], NaN where not known
    is_higher_better: bool = False
    places: tuple[str, str, str] = ("best", "median", "worst")


def chosen(outcomes: Sequence[Outcome], measured: CounterfactualMetrics | None) -> list[tuple[Outcome, str]]:
    """The first, the middle and the last of the ranked `outcomes`, each with the words that say so.

    `measured` are their errors to the truth, in their order, or None where no truth is known. Outcomes of which
    nothing is known are left out; fewer than three give nothing: they can all be looked at.
    """
    merit = merit_of(outcomes, measured)
    known = np.flatnonzero(~np.isnan(merit.values))
    if len(known) < len(merit.places):
        return []
    ranked = known[np.argsort(-merit.values[known] if merit.is_higher_better else merit.values[known], kind="stable")]
    picked = (ranked[0], ranked[(len(ranked) - 1) // 2], ranked[-1])
    say = lambda place, i: f"{place} of {len(known)} by {merit.by}: {number(merit.values[i])}{merit.unit}"
    return [(outcomes[i], say(place, i)) for place, i in zip(merit.places, picked, strict=True)]


def merit_of(outcomes: Sequence[Outcome], measured: CounterfactualMetrics | None) -> Merit:
    """Error to the truth where it is known; else the direction score of CLIP; else the size of the change."""
    if measured is not None and not np.all(np.isnan(measured.edit_inside)):
        return Merit(by="error to the truth inside the mask", unit=" levels", values=measured.edit_inside)
    scores = np.array([direction(outcome) for outcome in outcomes])
    if not np.all(np.isnan(scores)):
        return Merit(by="CLIP direction score", unit="", values=scores, is_higher_better=True)
    return Merit(
        by="mean change of the picture, which says nothing of its quality",
        unit=" levels",
        values=np.array([outcome.row["mean_change"] for outcome in outcomes], np.float64),
        is_higher_better=True,
        places=("largest change", "median change", "smallest change"),
    )


def direction(outcome: Outcome) -> float:
    """The CLIP score of the candidate that was kept; NaN where none was scored."""
    kept = [outcome.row[name] for name in ("self_steps", "cross_steps", "guidance")]
    for candidate in json.loads(outcome.row.get("candidates") or "[]"):
        strengths = [candidate[name] for name in ("self_steps", "cross_steps", "guidance")]
        # The manifest keeps float32.
        if candidate["scores"] and np.allclose(strengths, kept, rtol=1e-6):
            return candidate["scores"]["direction"]
    return math.nan
