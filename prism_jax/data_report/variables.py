"""Attributes of many images as numeric columns."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from prism_jax.data.schema import Attributes

AGE, BURNED_IN_TEXT = "age", "burned-in text"
Code = Callable[[Attributes, str], float]  # of a finding, see `SurveyConfig.code`
Kind = Literal["finding", "view", "sex", "race", "age", "burned-in text"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variable:
    """One column: 1 and 0, or age in years; NaN where unknown."""

    name: str  # a finding's own name, "view AP", "sex M", "age", "burned-in text"
    kind: Kind
    values: np.ndarray  # float64 [n]

    @property
    def is_binary(self) -> bool:
        """True if all values are 1, 0 or NaN."""
        return self.kind != "age"


def findings(attributes: Sequence[Attributes]) -> tuple[str, ...]:
    """All findings that occur, sorted by name."""
    return tuple(sorted({name for each in attributes for name in each.findings}))


def variables(attributes: Sequence[Attributes], has_text: np.ndarray | None, code: Code) -> tuple[Variable, ...]:
    """Columns of findings, then views, sex, race, age, and burned-in text (`has_text` bool [n], None: not detected).

    Each view and race is a column of its own against all others; if there are only two, the first by alphabet is.
    """
    column = lambda values: np.array(list(values), np.float64)
    columns = [
        Variable(name=name, kind="finding", values=column(code(each, name) for each in attributes))
        for name in findings(attributes)
    ]
    for kind in ("view", "sex", "race"):
        given = [getattr(each, kind) for each in attributes]
        names = sorted(set(given) - {None})
        if kind == "sex":
            names = names and ["M"]
        elif len(names) == 2:
            names = names[:1]
        for name in names:
            values = column(np.nan if value is None else value == name for value in given)
            columns.append(Variable(name=f"{kind} {name}", kind=kind, values=values))
    ages = column(np.nan if each.age is None else each.age for each in attributes)
    columns.append(Variable(name=AGE, kind="age", values=ages))
    if has_text is not None:
        columns.append(Variable(name=BURNED_IN_TEXT, kind="burned-in text", values=np.asarray(has_text, np.float64)))
    return tuple(columns)


def covariates(attributes: Sequence[Attributes], *, min_images: int) -> Mapping[str, np.ndarray]:
    """Covariates [n, q] named "view", "age" and "sex", NaN in all columns where unknown.

    Age comes with its square. Views of fewer than `min_images` images are pooled with the commonest one.
    """
    views = [each.view for each in attributes]
    counts = Counter(view for view in views if view is not None)
    by_count = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    common = [view for view, count in by_count if count >= min_images]
    indicators = np.array([[view == other for other in common[1:]] for view in views], np.float64)
    indicators = indicators.reshape(len(views), -1)
    indicators[[view is None for view in views]] = np.nan
    ages = np.array([np.nan if each.age is None else each.age for each in attributes], np.float64)
    decades = (ages - 60) / 10
    sexes = np.array([np.nan if each.sex is None else each.sex == "M" for each in attributes], np.float64)
    return {"view": indicators, "age": np.stack([decades, decades**2], 1), "sex": sexes[:, None]}
