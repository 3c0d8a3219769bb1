"""The attributes of many images as columns of numbers, the form in which they are compared."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from prism_jax.data.schema import Attributes

AGE, MARK = "age", "burned-in mark"
Kind = Literal["finding", "view", "sex", "race", "age", "mark"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coding:
    """What an image says of a finding that its labels do not decide: nothing, by default."""

    uncertain: Literal["unknown", "absent", "present"] = "unknown"
    unmentioned: Literal["unknown", "absent"] = "unknown"  # "absent" where labels were mined for what is mentioned

    def value(self, attributes: Attributes, finding: str) -> float:
        """1 present, 0 absent, NaN unknown."""
        state = self.unmentioned
        if finding in attributes.findings:
            known = attributes.findings[finding]
            state = self.uncertain if known is None else ("present" if known else "absent")
        return {"present": 1.0, "absent": 0.0, "unknown": np.nan}[state]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variable:
    """One column: 1 and 0, or years of age; NaN where unknown."""

    name: str  # a finding's own name, "view AP", "sex M", "age", "burned-in mark"
    kind: Kind
    values: np.ndarray  # float64 [n]

    @property
    def is_binary(self) -> bool:
        """Whether all values are 1, 0 or NaN by meaning."""
        return self.kind != "age"


def findings(attributes: Sequence[Attributes]) -> tuple[str, ...]:
    """All names of findings that occur, by alphabet."""
    return tuple(sorted({name for known in attributes for name in known.findings}))


def variables(attributes: Sequence[Attributes], marked: np.ndarray | None, coding: Coding) -> tuple[Variable, ...]:
    """Findings, then views, sex, race, age, and whether a mark is suspected (bool [n], None: not looked for).

    A view or race is a column of its own, one of them against all others; of two only the first by alphabet.
    """
    column = lambda values: np.array(list(values), np.float64)
    found = [
        Variable(name=name, kind="finding", values=column(coding.value(known, name) for known in attributes))
        for name in findings(attributes)
    ]
    for kind in ("view", "sex", "race"):
        given = [getattr(known, kind) for known in attributes]
        names = sorted(set(given) - {None})
        if kind == "sex":
            names = names and ["M"]
        elif len(names) == 2:
            names = names[:1]
        for name in names:
            values = column(np.nan if one is None else one == name for one in given)
            found.append(Variable(name=f"{kind} {name}", kind=kind, values=values))
    ages = column(np.nan if known.age is None else known.age for known in attributes)
    found.append(Variable(name=AGE, kind="age", values=ages))
    if marked is not None:
        found.append(Variable(name=MARK, kind="mark", values=np.asarray(marked, np.float64)))
    return tuple(found)


def covariates(attributes: Sequence[Attributes], *, fewest: int) -> Mapping[str, np.ndarray]:
    """Columns [n, q] to adjust for by "view", "age" and "sex", NaN in all of them where that is unknown.

    Age comes with its square. Views of less than `fewest` images are counted with the commonest one.
    """
    views = [known.view for known in attributes]
    counts = Counter(view for view in views if view is not None)
    common = [view for view, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= fewest]
    indicators = np.array([[view == other for other in common[1:]] for view in views], np.float64)
    indicators = indicators.reshape(len(views), -1)
    indicators[[view is None for view in views]] = np.nan
    ages = np.array([np.nan if known.age is None else known.age for known in attributes], np.float64)
    decades = (ages - 60) / 10
    sexes = np.array([np.nan if known.sex is None else known.sex == "M" for known in attributes], np.float64)
    return {"view": indicators, "age": np.stack([decades, decades**2], 1), "sex": sexes[:, None]}
