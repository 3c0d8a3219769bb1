"""The effect matrix of a cohort: what the judges' scores say of every edit and attribute, alone and together."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from prism_jax.evaluation import edited_cohort as cohorts
from prism_jax.evaluation.audit.scores import Scores
from prism_jax.evaluation.edited_cohort import AGE, Cases
from prism_jax.evaluation.edits import EditSpec
from prism_jax.stats import contrasts, effects
from prism_jax.stats.consensus import Agreement, agree
from prism_jax.stats.effects import EFFECT, NEGLIGIBLE, EffectConfig, Effects, Row

ALL = "all judges"  # the mean of their scores
TRUTH = "true counterfactuals"  # in the eyes of all judges, against the original
PROBABILITY, LOGIT, STANDARD = "probability", "logit", "standardised"
Place = tuple[str, str]  # (edit, attribute)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Matrix:
    """All cells. What is tested is the logit, where floor and ceiling press less; probabilities say how much it is.

    Standardised is the logit over its sd over all images of the cohort: images of an edit alone are alike in what it
    changes, so their own spread would make every change of that a large one.
    """

    edits: tuple[EditSpec, ...]  # rows
    columns: tuple[str, ...]
    tested: str  # the scale of the tests: standardised, unless the margin is one on logits
    wanted: Mapping[str, Mapping[str, float]]  # edit -> target -> mean of 1 (should rise) and -1 (should fall)
    rows: Mapping[str, Mapping[str, Mapping[str, Row]]]  # judge or ALL -> scale -> edit
    effects: Mapping[str, Mapping[str, Effects]]  # judge, ALL or TRUTH -> scale
    agreement: Mapping[Place, Agreement]  # of the judges
    beyond: Mapping[Place, Agreement]  # the same of the difference to placebos on the same images; empty without any
    excess: Mapping[Place, effects.Cell]  # that difference on the probability scale, ALL

    @property
    def judges(self) -> tuple[str, ...]:
        return tuple(name for name in self.rows if name != ALL)

    def size(self, edit: str, column: str, judge: str = ALL, scale: str = PROBABILITY) -> effects.Cell:
        """One cell as one judge, or all together, see it."""
        return self.effects[judge][scale].cell(edit, column)

    def is_called(self, edit: str, column: str) -> bool:
        """Whether all judges see one effect of account, larger than that of the placebos where there are any."""
        return self.agreement[edit, column].verdict == EFFECT and self._is_beyond(edit, column)

    def is_negligible(self, edit: str, column: str) -> bool:
        """The same of an effect that is sure, and too small to be of account."""
        return self.agreement[edit, column].verdict == NEGLIGIBLE and self._is_beyond(edit, column)

    def floor(self, edit: str, column: str) -> tuple[float, str]:
        """(The largest mean change of the probability by a placebo on the same images, its name); NaN without any."""
        rows, place = self.rows[ALL][PROBABILITY], self.columns.index(column)
        own, found = rows[edit].images, [(float("nan"), "")]
        for spec in self.edits:
            row = rows[spec.name]
            if spec.is_negative_control and (shared := np.isin(row.images, own)).any():
                found.append((float(abs(np.nanmean(row.changes[shared, place]))), spec.name))
        return max(found[1:], default=found[0])

    def _is_beyond(self, edit: str, column: str) -> bool:
        found = self.beyond.get((edit, column))
        return found is None or found.verdict in (EFFECT, NEGLIGIBLE)


def measure(cases: Cases, scores: Scores, config: EffectConfig, *, negligible: float = 0.02) -> Matrix:
    """Judges every cell of a cohort; a probability that changes by less than `negligible` is of no account."""
    edits, columns = cases.edits, scores.columns
    wanted = {edit.name: _wanted(cases, edit, columns) for edit in edits}
    views = [*enumerate(scores.judges), (slice(None), ALL)]
    rows = {judge: _rows(cases, scores, place, wanted) for place, judge in views}
    found = {judge: _measured(scales, columns, config, negligible) for judge, scales in rows.items()}
    if scores.truth is not None:
        truth = _rows(cases, scores, slice(None), wanted, before="original", after="truth")
        found[TRUTH] = _measured(truth, columns, config, negligible)
    tested = STANDARD if config.margin_of == "std" else LOGIT
    apart = {judge: {tested: _beyond(edits, rows[judge][tested])} for judge in scores.judges}
    excess = {PROBABILITY: _beyond(edits, rows[ALL][PROBABILITY])}
    beyond, cells = (), ()
    if excess[PROBABILITY]:
        beyond = agree(*(_measured(scales, columns, config, negligible)[tested] for scales in apart.values()))
        cells = _measured(excess, columns, config, negligible)[PROBABILITY].cells
    return Matrix(
        edits=edits,
        columns=columns,
        tested=tested,
        wanted=wanted,
        rows=rows,
        effects=found,
        agreement=_agreed(found, scores.judges, tested),
        beyond={(one.edit, one.column): one for one in beyond},
        excess={(one.edit, one.column): one for one in cells},
    )


def _agreed(found: Mapping[str, Mapping[str, Effects]], judges: tuple[str, ...], tested: str) -> dict[Place, Agreement]:
    """The judges' consensus. Logits of confident judges move far where probabilities hardly do: negligible effects.

    That is a label of an effect that was found: cells are shown to have none by their logits alone.
    """
    agreed = {(one.edit, one.column): one for one in agree(*(found[judge][tested] for judge in judges))}
    for place, one in agreed.items():
        is_small = place[1] != AGE and all(found[judge][PROBABILITY].cell(*place).is_equivalent for judge in judges)
        if one.verdict == EFFECT and is_small:
            agreed[place] = dataclasses.replace(one, verdict=NEGLIGIBLE)
    return agreed


def _measured(
    scales: Mapping[str, Mapping[str, Row]], columns: tuple[str, ...], config: EffectConfig, negligible: float
) -> dict[str, Effects]:
    """The effects on each scale. Margins are in the scale's unit, but for that of logits, which `config` says."""
    own = {
        STANDARD: dataclasses.replace(config, margin_of="unit"),
        PROBABILITY: dataclasses.replace(config, margin_of="unit", margin=negligible),
    }
    found = {scale: effects.measure(rows, columns, own.get(scale, config)) for scale, rows in scales.items()}
    if PROBABILITY in found:
        found[PROBABILITY] = _possible(found[PROBABILITY])
    return found


def _possible(measured: Effects) -> Effects:
    """The same with intervals cut at what changes of probabilities can be: wide ones of few patients go beyond."""
    cut = lambda x: dataclasses.replace(x, low=max(x.low, -1.0), high=min(x.high, 1.0))
    cells = (
        cell if cell.column == AGE or np.isnan(cell.effect.low) else dataclasses.replace(cell, effect=cut(cell.effect))
        for cell in measured.cells
    )
    return dataclasses.replace(measured, cells=tuple(cells))


def _wanted(cases: Cases, edit: EditSpec, columns: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for place in cases.of(edit):
        for column, sign in cohorts.wanted(cases.cases[place], columns).items():
            found.setdefault(column, []).append(sign)
    return {column: float(np.mean(signs)) for column, signs in found.items()}


def _rows(
    cases: Cases,
    scores: Scores,
    judge: int | slice,
    wanted: Mapping[str, Mapping[str, float]],
    *,
    before: str = "reconstruction",
    after: str = "edited",
) -> dict[str, dict[str, Row]]:
    """By scale and edit, what one judge sees; the mean of all of them for a slice."""
    seen = lambda scale, kind: _seen(scores.on(scale, kind), judge)
    spread = np.std(seen(LOGIT, before)[cases.firsts], axis=0, ddof=1) if len(cases.firsts) > 1 else np.nan
    spread = np.where(spread > 0, spread, np.nan)  # [c]
    found: dict[str, dict[str, Row]] = {PROBABILITY: {}, LOGIT: {}, STANDARD: {}}
    for edit in cases.edits:
        places = cases.of(edit)
        fields = dict(
            images=cases.images[places], targets=tuple(wanted[edit.name]), is_negative_control=edit.is_negative_control
        )
        for scale in (PROBABILITY, LOGIT):
            values = (seen(scale, kind)[places] for kind in (before, after))
            found[scale][edit.name] = Row.of(*values, cases.patients[places], **fields)
        standard = found[LOGIT][edit.name].changes / spread[None]
        found[STANDARD][edit.name] = Row(changes=standard, patients=cases.patients[places], **fields)
    return found


def _seen(values: np.ndarray, judge: int | slice) -> np.ndarray:
    return values[judge].mean(axis=0) if isinstance(judge, slice) else values[judge]


def _beyond(edits: tuple[EditSpec, ...], rows: Mapping[str, Row]) -> dict[str, Row]:
    """Each edit less the mean of the placebos of the same images; edits that share no image with them are left out."""
    placebos = [rows[edit.name] for edit in edits if edit.is_negative_control]
    found = {}
    for edit in edits if placebos else ():
        row = rows[edit.name]
        common = set(row.images).intersection(*(one.images for one in placebos))
        if not edit.is_negative_control and common:
            found[edit.name] = contrasts.difference_in_differences(row, *placebos)
    return found
