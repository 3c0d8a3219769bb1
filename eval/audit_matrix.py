"""The effect matrix of a cohort: what the judges' scores say of every edit and attribute, alone and together."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from eval import audit_cases
from eval.audit_cases import Cases
from eval.audit_judges import Scores
from eval.changes import Change
from prism_jax.audit import comparisons, effects
from prism_jax.audit.effects import EffectConfig, Effects, Row
from prism_jax.audit.judges import Agreement, agree

ALL = "all judges"  # the mean of their scores
TRUTH = "true counterfactuals"  # in the eyes of all judges, against the original
PROBABILITY, LOGIT = "probability", "logit"
Place = tuple[str, str]  # (edit, attribute)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Matrix:
    """All cells. What is tested is the logit, where floor and ceiling press less; probabilities say how much it is."""

    changes: tuple[Change, ...]  # rows
    columns: tuple[str, ...]
    wanted: Mapping[str, Mapping[str, float]]  # edit -> target -> mean of 1 (should rise) and -1 (should fall)
    rows: Mapping[str, Mapping[str, Mapping[str, Row]]]  # judge or ALL -> scale -> edit
    effects: Mapping[str, Mapping[str, Effects]]  # judge, ALL or TRUTH -> scale
    agreement: Mapping[Place, Agreement]  # of the judges, on logits
    beyond: Mapping[Place, Agreement]  # the same of the difference to placebos on the same images; empty without any
    excess: Mapping[Place, effects.Cell]  # that difference on the probability scale, ALL

    @property
    def judges(self) -> tuple[str, ...]:
        return tuple(name for name in self.rows if name != ALL)

    def size(self, edit: str, column: str, judge: str = ALL, scale: str = PROBABILITY) -> effects.Cell:
        """One cell as one judge, or all together, see it."""
        return self.effects[judge][scale].cell(edit, column)

    def is_called(self, edit: str, column: str) -> bool:
        """Whether all judges see one effect, larger than that of the placebos where there are any."""
        place = (edit, column)
        called = (effects.EFFECT, effects.SLIGHT)
        return self.agreement[place].verdict in called and (
            place not in self.beyond or self.beyond[place].verdict in called
        )


def measure(cases: Cases, scores: Scores, config: EffectConfig) -> Matrix:
    """Judges every cell of a cohort."""
    changes, columns = cases.changes, scores.columns
    wanted = {change.name: _wanted(cases, change, columns) for change in changes}
    rows = {
        judge: {
            scale: {
                change.name: _row(cases, scores, change, j, scale, tuple(wanted[change.name])) for change in changes
            }
            for scale in (PROBABILITY, LOGIT)
        }
        for j, judge in [*enumerate(scores.judges), (slice(None), ALL)]
    }
    found = {
        judge: {scale: effects.measure(of, columns, config) for scale, of in scales.items()}
        for judge, scales in rows.items()
    }
    if scores.truth is not None:
        found[TRUTH] = {scale: _truth(cases, scores, scale, wanted, config) for scale in (PROBABILITY, LOGIT)}
    agreed = agree(*(found[judge][LOGIT] for judge in scores.judges))
    apart = {judge: _beyond(changes, scales[LOGIT]) for judge, scales in rows.items()}
    excess = _beyond(changes, rows[ALL][PROBABILITY])
    beyond = agree(*(effects.measure(apart[j], columns, config) for j in scores.judges)) if excess else ()
    return Matrix(
        changes=changes,
        columns=columns,
        wanted=wanted,
        rows=rows,
        effects=found,
        agreement={(one.edit, one.column): one for one in agreed},
        beyond={(one.edit, one.column): one for one in beyond},
        excess={(one.edit, one.column): one for one in effects.measure(excess, columns, config).cells}
        if excess
        else {},
    )


def _wanted(cases: Cases, change: Change, columns: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for place in cases.of(change):
        for column, sign in audit_cases.wanted(cases.cases[place], columns).items():
            found.setdefault(column, []).append(sign)
    return {column: float(np.mean(signs)) for column, signs in found.items()}


def _row(cases: Cases, scores: Scores, change: Change, judge: int | slice, scale: str, targets: tuple[str, ...]) -> Row:
    """The row of a change as a judge sees it; the mean of all of them for a slice."""
    places = cases.of(change)
    before, after = (_seen(scores.on(scale, kind), judge)[places] for kind in ("reconstruction", "edited"))
    return Row.of(
        before,
        after,
        cases.patients[places],
        images=cases.images[places],
        targets=targets,
        is_placebo=change.is_placebo,
    )


def _seen(values: np.ndarray, judge: int | slice) -> np.ndarray:
    return values[judge].mean(axis=0) if isinstance(judge, slice) else values[judge]


def _truth(
    cases: Cases, scores: Scores, scale: str, wanted: Mapping[str, Mapping[str, float]], config: EffectConfig
) -> Effects:
    """The effects that the true counterfactuals have in the eyes of all judges."""
    original, truth = (scores.on(scale, kind).mean(axis=0) for kind in ("original", "truth"))
    rows = {}
    for change in cases.changes:
        places = cases.of(change)
        fields = dict(images=cases.images[places], targets=tuple(wanted[change.name]), is_placebo=change.is_placebo)
        rows[change.name] = Row.of(original[places], truth[places], cases.patients[places], **fields)
    return effects.measure(rows, scores.columns, config)


def _beyond(changes: tuple[Change, ...], rows: Mapping[str, Row]) -> dict[str, Row]:
    """Each edit less the mean of the placebos of the same images; edits that share no image with them are left out."""
    placebos = [rows[change.name] for change in changes if change.is_placebo]
    found = {}
    for change in changes if placebos else ():
        row = rows[change.name]
        common = set(row.images).intersection(*(one.images for one in placebos))
        if not change.is_placebo and common:
            found[change.name] = comparisons.difference(row, *placebos)
    return found
