"""Subjects that a report shows for an edit: some drawn at random, then the best, median and worst."""

import dataclasses
import json
import math
from collections.abc import Collection, Sequence

import numpy as np

from prism_jax.evaluation.counterfactuals.measure import Outcome
from prism_jax.metrics.counterfactual import CounterfactualMetrics
from prism_jax.report.tables import number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Merit:
    """The measure that ranks edits."""

    by: str
    unit: str
    values: np.ndarray  # [n], NaN where unknown
    is_higher_better: bool = False
    places: tuple[str, str, str] = ("best", "median", "worst")


def chosen(
    outcomes: Sequence[Outcome],
    measured: CounterfactualMetrics | None,
    *,
    without: Collection[tuple[str, str]] = (),
) -> list[tuple[Outcome, str]]:
    """The best, median and worst of the `outcomes`, each with the name of its rank.

    `measured` are their errors to the truth, in their order, or None where no truth is known. Outcomes whose measure is
    unknown, and those with a key in `without`, are left out; fewer than three give nothing: they can all be looked at.
    """
    merit = merit_of(outcomes, measured)
    is_left = [outcome.key not in without for outcome in outcomes]
    order = np.argsort(-merit.values if merit.is_higher_better else merit.values, kind="stable")
    ranked = [i for i in order if is_left[i] and not np.isnan(merit.values[i])]
    if len(ranked) < len(merit.places):
        return []
    picked = (ranked[0], ranked[(len(ranked) - 1) // 2], ranked[-1])
    others = "others " if len(ranked) < len(outcomes) and without else ""
    say = lambda place, i: f"{place} of {len(ranked)} {others}by {merit.by}: {number(merit.values[i])}{merit.unit}"
    return [(outcomes[i], say(place, i)) for place, i in zip(merit.places, picked, strict=True)]


def merit_of(outcomes: Sequence[Outcome], measured: CounterfactualMetrics | None) -> Merit:
    """Error to the truth where it is known; else the direction score of CLIP; else the size of the change."""
    if measured is not None and not np.all(np.isnan(measured.edit_inside)):
        return Merit(by="error to the truth inside the mask", unit=" levels", values=measured.edit_inside)
    scores = np.array([direction(outcome) for outcome in outcomes])
    if not np.all(np.isnan(scores)):
        return Merit(by="CLIP direction score", unit="", values=scores, is_higher_better=True)
    return Merit(
        by="mean change of the image (not a measure of quality)",
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
