"""Consensus of independent judges, so that an artefact of one judge is not reported as an effect of the edit.

An effect is called where every judge finds it with the same sign: the intersection-union test, whose p-value is the
largest of theirs (Berger 1982). It needs no assumption on the dependence between judges.
"""

import dataclasses
from typing import Literal

import numpy as np

from prism_jax.stats.effects import (
    EFFECT,
    INCONCLUSIVE,
    INSUFFICIENT_DATA,
    NEGATIVE_CONTROL,
    NEGLIGIBLE,
    NO_EFFECT,
    OFF,
    ON,
    Cell,
    Effects,
    Family,
)
from prism_jax.stats.sign_flip_test import benjamini_hochberg

DISAGREE = "judges disagree"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """Consensus of all judges on the effect of one edit on one attribute."""

    edit: str
    column: str
    family: Family
    values: tuple[float, ...]  # each judge's standardised effect, or effect where there is no std to divide by
    is_one_sign: bool
    p: float  # largest of the judges'
    q: float  # Benjamini-Hochberg of `p` within the family
    family_p: float  # largest of the judges' family-wise p
    verdict: Literal["effect", "negligible effect", "no effect", "judges disagree", "inconclusive", "insufficient data"]


def agree(*judges: Effects) -> tuple[Agreement, ...]:
    """The consensus of the judges on every cell.

    A cell has no effect where all judges find it within the margin. The judges disagree if one of them finds an effect
    and the consensus does not.

    Raises:
      ValueError: fewer than two judges, or cells that are not the same.
    """
    if len(judges) < 2:
        raise ValueError(f"a consensus needs two judges or more, got {len(judges)}")
    if any(_same(judge) != _same(judges[0]) for judge in judges):
        raise ValueError("the judges' edits, attributes or configurations differ; measure all with the same ones")
    cells = list(zip(*(judge.cells for judge in judges), strict=True))
    p = np.array([max(_or_infinity(cell.p) for cell in judged) for judged in cells])
    q = np.full(len(p), np.nan)
    for family in (ON, OFF, NEGATIVE_CONTROL):
        where = np.array([judged[0].family == family for judged in cells])
        q[where] = benjamini_hochberg(np.where(np.isinf(p[where]), np.nan, p[where]))
    return tuple(_agreement(judged, float(value), judges[0]) for judged, value in zip(cells, q, strict=True))


def _same(effects: Effects) -> tuple:
    return effects.edits, effects.columns, effects.config


def _or_infinity(p: float) -> float:
    """Infinite where unknown, so that the largest of several is then unknown too."""
    return np.inf if np.isnan(p) else p


def _agreement(cells: tuple[Cell, ...], q: float, effects: Effects) -> Agreement:
    sizes = [(cell.effect if np.isnan(cell.standardised.value) else cell.standardised).value for cell in cells]
    is_known = not np.isnan(q)
    family_p = max(cell.family_p for cell in cells) if is_known else float("nan")
    controlled = q if effects.config.control == "fdr" else family_p
    is_one_sign = len({np.sign(cell.effect.value) for cell in cells}) == 1 and sizes[0] != 0
    is_equivalent = all(cell.is_equivalent for cell in cells)
    if not is_known:
        verdict = INSUFFICIENT_DATA
    elif is_one_sign and controlled <= effects.config.alpha:
        verdict = NEGLIGIBLE if is_equivalent else EFFECT
    elif is_equivalent:
        verdict = NO_EFFECT
    else:
        verdict = DISAGREE if any(cell.is_called for cell in cells) else INCONCLUSIVE
    return Agreement(
        edit=cells[0].edit,
        column=cells[0].column,
        family=cells[0].family,
        values=tuple(float(size) for size in sizes),
        is_one_sign=is_one_sign,
        p=max(cell.p for cell in cells) if is_known else float("nan"),
        q=q,
        family_p=family_p,
        verdict=verdict,
    )
