"""Binary targets of a classifier, read from the attributes of an image: findings, sex and view."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from prism_jax.data.captions.phrases import spoken
from prism_jax.data.schema import Attributes

SEX, VIEW = "sex", "view"  # M against F; AP, also supine, against PA
AGE = "age"  # in years: what classifiers predict beside binary targets


def state_of(target: str, attributes: Attributes) -> bool | None:
    """State of a target: True, False, or None if it is unknown or uncertain, or the view is neither AP nor PA.

    Names of findings are compared as captions spell them: "support_lines" is "support lines".
    """
    if target == SEX:
        return None if attributes.sex is None else attributes.sex == "M"
    if target == VIEW:
        kind = (attributes.view or "").upper()[:2]
        return kind == "AP" if kind in ("AP", "PA") else None
    if target in attributes.findings:
        return attributes.findings[target]
    return next((state for name, state in attributes.findings.items() if spoken(name) == spoken(target)), None)


def state_asked(target: str, value: bool | str | None) -> bool | None:
    """State that a target has once an edit set it to `value`; None where no classifier knows that value."""
    attributes = {target: value} if target in (SEX, VIEW) else {"findings": {target: value}}
    return state_of(target, Attributes(**attributes))


def values(rows: Iterable[Attributes], targets: Sequence[str]) -> np.ndarray:
    """Target matrix float32 [m, n]: 1 where a target holds, 0 where it does not, NaN where unknown."""
    states = [[state_of(target, attributes) for target in targets] for attributes in rows]
    return np.array([[math.nan if state is None else state for state in row] for row in states], np.float32)


def ages(rows: Iterable[Attributes]) -> np.ndarray:
    """Ages float32 [m] in years; NaN where unknown."""
    return np.array([math.nan if attributes.age is None else attributes.age for attributes in rows], np.float32)


def available(rows: Sequence[Attributes]) -> tuple[str, ...]:
    """Targets with at least one positive and one negative example: findings, then sex and view."""
    findings = dict.fromkeys(name for attributes in rows for name in attributes.findings)
    counts = Counter((target, state_of(target, a)) for a in rows for target in (*findings, SEX, VIEW))
    return tuple(name for name in (*findings, SEX, VIEW) if counts[name, True] and counts[name, False])
