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
    EffectConfig,
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

    @property
    def place(self) -> tuple[str, str]:
        """(edit, attribute)"""
        return self.edit, self.column

    @property
    def is_effect(self) -> bool:
        """True if the judges agree on an effect, negligible or not."""
        return self.verdict in (EFFECT, NEGLIGIBLE)


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
    p, family_p = np.max([[(cell.p, cell.family_p) for cell in judged] for judged in cells], axis=1).T  # NaN if one is
    q = np.full(len(p), np.nan)
    for family in (ON, OFF, NEGATIVE_CONTROL):
        where = np.array([judged[0].family == family for judged in cells])
        q[where] = benjamini_hochberg(p[where])
    p_values = np.stack([p, q, family_p], axis=1).tolist()
    return tuple(_agreement(judged, *three, judges[0].config) for judged, three in zip(cells, p_values, strict=True))


def _same(effects: Effects) -> tuple:
    return effects.edits, effects.columns, effects.config


def _agreement(cells: tuple[Cell, ...], p: float, q: float, family_p: float, config: EffectConfig) -> Agreement:
    sizes = [(cell.effect if np.isnan(cell.standardised.value) else cell.standardised).value for cell in cells]
    controlled = q if config.control == "fdr" else family_p
    is_one_sign = len({np.sign(cell.effect.value) for cell in cells}) == 1 and sizes[0] != 0
    is_equivalent = all(cell.is_equivalent for cell in cells)
    if np.isnan(q):
        verdict = INSUFFICIENT_DATA
    elif is_one_sign and controlled <= config.alpha:
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
        p=p,
        q=q,
        family_p=family_p,
        verdict=verdict,
    )
