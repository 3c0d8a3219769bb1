"""What independent judges agree on. One judge's quirk is not an effect of the edit.

An effect is called where every judge sees it, with one sign: the intersection-union test, whose p-value is the
largest of theirs (Berger 1982). It needs no assumption on how the judges go together.
"""

import dataclasses
from typing import Literal

import numpy as np

from prism_jax.stats.effects import EFFECT, FEW, NONE, OFF, ON, OPEN, PLACEBO, SLIGHT, Cell, Effects, Family
from prism_jax.stats.sign_flip_test import false_discovery

DISAGREE = "judges disagree"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """One edit and one attribute, in the eyes of all judges."""

    edit: str
    column: str
    family: Family
    values: tuple[float, ...]  # each judge's standardised effect, or effect where there is no spread to divide by
    is_one_sign: bool
    p: float  # largest of the judges'
    q: float  # Benjamini-Hochberg of these, within the family
    family_p: float  # largest of the judges' family-wise p
    verdict: Literal[
        "effect", "effect within the margin", "no effect", "judges disagree", "open", "cannot be concluded"
    ]


def agree(*judges: Effects) -> tuple[Agreement, ...]:
    """Every cell as all judges see it together.

    A cell has no effect where all find it within the margin; the judges disagree where one calls an effect that is
    not called together.

    Raises:
      ValueError: fewer than two judges, or cells that are not the same.
    """
    if len(judges) < 2:
        raise ValueError(f"{len(judges)} judge cannot agree with another; give two or more")
    if any((one.edits, one.columns, one.config) != _same(judges[0]) for one in judges):
        raise ValueError("the judges have judged different edits or attributes, or by other rules; measure them alike")
    cells = list(zip(*(one.cells for one in judges), strict=True))
    p = np.array([max(_number(cell.p) for cell in seen) for seen in cells])
    q = np.full(len(p), np.nan)
    for family in (ON, OFF, PLACEBO):
        where = np.array([seen[0].family == family for seen in cells])
        q[where] = false_discovery(np.where(np.isinf(p[where]), np.nan, p[where]))
    return tuple(_agreement(seen, float(value), judges[0]) for seen, value in zip(cells, q, strict=True))


def _same(effects: Effects) -> tuple:
    return effects.edits, effects.columns, effects.config


def _number(p: float) -> float:
    """Infinite where nothing is known: the largest of several is then not known either."""
    return np.inf if np.isnan(p) else p


def _agreement(seen: tuple[Cell, ...], q: float, effects: Effects) -> Agreement:
    sizes = [one.effect.value if np.isnan(one.standardised.value) else one.standardised.value for one in seen]
    is_known = not np.isnan(q)
    family_p = max(one.family_p for one in seen) if is_known else float("nan")
    chance = q if effects.config.control == "discoveries" else family_p
    is_one_sign = len({np.sign(one.effect.value) for one in seen}) == 1 and sizes[0] != 0
    is_equivalent = all(one.is_equivalent for one in seen)
    if not is_known:
        verdict = FEW
    elif is_one_sign and chance <= effects.config.alpha:
        verdict = SLIGHT if is_equivalent else EFFECT
    elif is_equivalent:
        verdict = NONE
    else:
        verdict = DISAGREE if any(one.is_called for one in seen) else OPEN
    return Agreement(
        edit=seen[0].edit,
        column=seen[0].column,
        family=seen[0].family,
        values=tuple(float(size) for size in sizes),
        is_one_sign=is_one_sign,
        p=max(one.p for one in seen) if is_known else float("nan"),
        q=q,
        family_p=family_p,
        verdict=verdict,
    )
