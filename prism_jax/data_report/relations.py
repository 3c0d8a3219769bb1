"""Side effects of edits compared with associations in the data: known, amplified, hidden, or not shown.

Both are slopes: the change of the fraction of images with B per unit change of the fraction with A. In the data that
is the regression of B on A, the adjusted correlation times sd(B) / sd(A); in the edits it is the ratio of the mean
changes of the probabilities of B and A (`leakage.ratio`).
"""

import dataclasses
from typing import Literal

import numpy as np

from prism_jax.data.captions.phrases import spoken
from prism_jax.data_report.pairwise_associations import Association
from prism_jax.stats.effects import EFFECT, NEGLIGIBLE, NO_EFFECT
from prism_jax.stats.intervals import NO_ESTIMATE, Estimate

KNOWN, AMPLIFIED, HIDDEN, NOT_SHOWN, UNDECIDED = "known", "amplified", "hidden", "not shown", "undecided"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Relation:
    """An association in the model's edits compared with that in the data."""

    kind: Literal["known", "amplified", "hidden", "not shown", "undecided"]
    model: Estimate  # slope in the edits
    data: Estimate  # slope in the data; NaN where it cannot be estimated, count 0 where the data lack it
    excess: Estimate  # |model| - |data|; NaN without an association of that sign in the data
    reason: str


def relate(verdict: str, model: Estimate, association: Association | None, *, target: str) -> Relation:
    """Classes a cell by its verdict, its slope in the edits and the association of its attribute with the target.

    `association` is `Survey.between(target, attribute)`, None where the metadata do not have the attribute; adjusted
    for view, age and sex. *Known*: in the data with the same sign, and not shown to be larger in the edits.
    *Amplified*: its slope in the edits is shown to be the larger one. *Hidden*: the edits have it, the data do not, or
    have it the other way round. *Not shown*: equivalence says the edits do not have it.
    """
    data = NO_ESTIMATE if association is None else slope(association, target)
    relation = lambda kind, reason, excess=None: Relation(
        kind=kind, model=model, data=data, excess=excess or NO_ESTIMATE, reason=reason
    )
    if verdict == NO_EFFECT:
        return relation(NOT_SHOWN, "the edits change it by less than the margin")
    if verdict not in (EFFECT, NEGLIGIBLE):
        return relation(UNDECIDED, f"inconclusive in the edits: {verdict}")
    if association is None:
        return relation(HIDDEN, "the attribute is not in the metadata")
    if association.reason or np.isnan(data.value):
        return relation(UNDECIDED, f"inconclusive in the data: {association.reason or 'too few images to adjust'}")
    if not association.is_significant_adjusted:
        return relation(HIDDEN, "no significant association in the data")
    if np.isnan(model.value):
        return relation(UNDECIDED, "the edits have no slope: their own target did not change")
    if np.sign(model.value) != np.sign(data.value):
        return relation(HIDDEN, "associated in the data with the opposite sign")
    excess = _excess(model, data)
    if excess.low > 0:
        return relation(AMPLIFIED, "associated in the data, more strongly in the edits", excess)
    return relation(KNOWN, "associated in the data", excess)


def slope(association: Association, target: str) -> Estimate:
    """Change of the fraction with the attribute per unit of the fraction with `target`; NaN where one is not binary.

    The standard deviations are those of the marginal fractions, taken as known: their error is small beside the
    correlation's.
    """
    correlation = association.adjusted
    if association.cells is None or not correlation.count:
        return dataclasses.replace(NO_ESTIMATE, count=correlation.count)
    both, first, second, neither = association.cells
    total = both + first + second + neither
    fractions = np.array([both + first, both + second]) / total
    deviations = np.sqrt(fractions * (1 - fractions))
    ratio = deviations[1] / deviations[0]
    if spoken(target) != spoken(association.first):
        if spoken(target) != spoken(association.second):
            raise ValueError(f"{target!r} is not in the association of {association.first} with {association.second}")
        ratio = 1 / ratio
    value, low, high = (float(number * ratio) for number in (correlation.value, correlation.low, correlation.high))
    return Estimate(value=value, low=low, high=high, count=correlation.count)


def _excess(model: Estimate, data: Estimate) -> Estimate:
    """|model| - |data| of one sign, with the interval recovered from theirs (MOVER, Zou & Donner 2008)."""
    sign = np.sign(data.value)
    (value, low, high), (data_value, data_low, data_high) = (
        (sign * one.value, *sorted((sign * one.low, sign * one.high))) for one in (model, data)
    )
    gap = value - data_value
    lowest = gap - np.hypot(value - low, data_high - data_value)
    highest = gap + np.hypot(high - value, data_value - data_low)
    return Estimate(value=float(gap), low=float(lowest), high=float(highest), count=min(model.count, data.count))
