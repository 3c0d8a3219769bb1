"""Effect matrix of a cohort: effect of every edit on every attribute, by each judge and by all judges together."""

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
TRUTH = "true counterfactuals"  # mean of all judges' scores, compared with the original
PROBABILITY, LOGIT, STANDARD = "probability", "logit", "standardised"
Place = tuple[str, str]  # (edit, attribute)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Matrix:
    """Effect matrix: all cells, on three scales.

    Logits are tested, as they saturate less than probabilities, which state the size of an effect. The standardised
    scale is the logit divided by its std over all images of the cohort: images of a single edit hardly vary in the
    attribute that it changes, and their std would make every such change a large one.
    """

    edits: tuple[EditSpec, ...]  # rows
    columns: tuple[str, ...]
    tested: str  # the scale of the tests: standardised, or logit where the margin is in logits
    wanted: Mapping[str, Mapping[str, float]]  # edit -> target -> mean of 1 (should rise) and -1 (should fall)
    rows: Mapping[str, Mapping[str, Mapping[str, Row]]]  # judge or ALL -> scale -> edit
    effects: Mapping[str, Mapping[str, Effects]]  # judge, ALL or TRUTH -> scale
    agreement: Mapping[Place, Agreement]  # of the judges
    beyond: Mapping[Place, Agreement]  # on the difference from negative controls on the same images; or empty
    excess: Mapping[Place, effects.Cell]  # that difference on the probability scale, ALL

    @property
    def judges(self) -> tuple[str, ...]:
        return tuple(name for name in self.rows if name != ALL)

    def size(self, edit: str, column: str, judge: str = ALL, scale: str = PROBABILITY) -> effects.Cell:
        """The cell as scored by one judge, or by all of them together."""
        return self.effects[judge][scale].cell(edit, column)

    def is_called(self, edit: str, column: str) -> bool:
        """True if all judges agree on a non-negligible effect that differs from the negative controls, where there are
        any."""
        return self.agreement[edit, column].verdict == EFFECT and not self.is_control_like(edit, column)

    def is_negligible(self, edit: str, column: str) -> bool:
        """True if all judges agree on a significant but negligible effect that differs from the negative controls."""
        return self.agreement[edit, column].verdict == NEGLIGIBLE and not self.is_control_like(edit, column)

    def is_control_like(self, edit: str, column: str) -> bool:
        """True if all judges agree on an effect, but not that it differs from the negative controls."""
        excess = self.beyond.get((edit, column))
        return self.agreement[edit, column].is_effect and excess is not None and not excess.is_effect

    def floor(self, edit: str, column: str) -> tuple[float, str]:
        """(Largest mean change of the probability under a negative control on the same images, its name); NaN without
        controls."""
        rows, place = self.rows[ALL][PROBABILITY], self.columns.index(column)
        own, changes = rows[edit].images, [(float("nan"), "")]
        for spec in self.edits:
            row = rows[spec.name]
            if spec.is_negative_control and (shared := np.isin(row.images, own)).any():
                changes.append((float(abs(np.nanmean(row.changes[shared, place]))), spec.name))
        return max(changes[1:], default=changes[0])


def measure(cases: Cases, scores: Scores, config: EffectConfig, *, negligible: float = 0.02) -> Matrix:
    """The effect matrix of a cohort; a change of the probability below `negligible` is negligible."""
    edits, columns = cases.edits, scores.columns
    wanted = {edit.name: _wanted(cases, edit, columns) for edit in edits}
    views = [*enumerate(scores.judges), (slice(None), ALL)]
    rows = {judge: _rows(cases, scores, place, wanted) for place, judge in views}
    measured = {judge: _measured(scales, columns, config, negligible) for judge, scales in rows.items()}
    if scores.truth is not None:
        truth = _rows(cases, scores, slice(None), wanted, before="original", after="truth")
        measured[TRUTH] = _measured(truth, columns, config, negligible)
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
        effects=measured,
        agreement=_agreed(measured, scores.judges, tested),
        beyond={agreement.place: agreement for agreement in beyond},
        excess={(cell.edit, cell.column): cell for cell in cells},
    )


def _agreed(
    measured: Mapping[str, Mapping[str, Effects]], judges: tuple[str, ...], tested: str
) -> dict[Place, Agreement]:
    """The judges' consensus. An effect on logits whose probabilities hardly change is negligible (confident judges).

    Only effects get this label: the absence of an effect is shown on logits alone.
    """
    agreed = {cell.place: cell for cell in agree(*(measured[judge][tested] for judge in judges))}
    for place, cell in agreed.items():
        is_small = place[1] != AGE and all(measured[judge][PROBABILITY].cell(*place).is_equivalent for judge in judges)
        if cell.verdict == EFFECT and is_small:
            agreed[place] = dataclasses.replace(cell, verdict=NEGLIGIBLE)
    return agreed


def _measured(
    scales: Mapping[str, Mapping[str, Row]], columns: tuple[str, ...], config: EffectConfig, negligible: float
) -> dict[str, Effects]:
    """The effects on each scale. Margins are in the scale's unit, except that of logits, which `config` sets."""
    own = {
        STANDARD: dataclasses.replace(config, margin_of="unit"),
        PROBABILITY: dataclasses.replace(config, margin_of="unit", margin=negligible),
    }
    measured = {scale: effects.measure(rows, columns, own.get(scale, config)) for scale, rows in scales.items()}
    if PROBABILITY in measured:
        measured[PROBABILITY] = _possible(measured[PROBABILITY])
    return measured


def _possible(measured: Effects) -> Effects:
    """The effects with intervals clipped to [-1, 1]: those of few patients can exceed possible changes of a
    probability."""
    cut = lambda x: dataclasses.replace(x, low=max(x.low, -1.0), high=min(x.high, 1.0))
    cells = (
        cell if cell.column == AGE or np.isnan(cell.effect.low) else dataclasses.replace(cell, effect=cut(cell.effect))
        for cell in measured.cells
    )
    return dataclasses.replace(measured, cells=tuple(cells))


def _wanted(cases: Cases, edit: EditSpec, columns: tuple[str, ...]) -> dict[str, float]:
    signs_of: dict[str, list[float]] = {}
    for place in cases.of(edit):
        for column, sign in cohorts.wanted(cases.cases[place], columns).items():
            signs_of.setdefault(column, []).append(sign)
    return {column: float(np.mean(signs)) for column, signs in signs_of.items()}


def _rows(
    cases: Cases,
    scores: Scores,
    judge: int | slice,
    wanted: Mapping[str, Mapping[str, float]],
    *,
    before: str = "reconstruction",
    after: str = "edited",
) -> dict[str, dict[str, Row]]:
    """Rows of score changes by scale and edit, for one judge, or for the mean over judges if `judge` is a slice."""
    scores_of = lambda scale, kind: _seen(scores.on(scale, kind), judge)
    std = np.std(scores_of(LOGIT, before)[cases.firsts], axis=0, ddof=1) if len(cases.firsts) > 1 else np.nan
    std = np.where(std > 0, std, np.nan)  # [c]
    by_scale: dict[str, dict[str, Row]] = {PROBABILITY: {}, LOGIT: {}, STANDARD: {}}
    for edit in cases.edits:
        places = cases.of(edit)
        fields = dict(images=cases.images[places], targets=tuple(wanted[edit.name]))
        fields |= dict(is_negative_control=edit.is_negative_control)
        for scale in (PROBABILITY, LOGIT):
            values = (scores_of(scale, kind)[places] for kind in (before, after))
            by_scale[scale][edit.name] = Row.of(*values, cases.patients[places], **fields)
        standard = by_scale[LOGIT][edit.name].changes / std[None]
        by_scale[STANDARD][edit.name] = Row(changes=standard, patients=cases.patients[places], **fields)
    return by_scale


def _seen(values: np.ndarray, judge: int | slice) -> np.ndarray:
    return values[judge].mean(axis=0) if isinstance(judge, slice) else values[judge]


def _beyond(edits: tuple[EditSpec, ...], rows: Mapping[str, Row]) -> dict[str, Row]:
    """Each edit minus the mean of the negative controls on the same images; edits without common images are left
    out."""
    controls = [rows[edit.name] for edit in edits if edit.is_negative_control]
    differences = {}
    for edit in edits if controls else ():
        row = rows[edit.name]
        common = set(row.images).intersection(*(control.images for control in controls))
        if not edit.is_negative_control and common:
            differences[edit.name] = contrasts.difference_in_differences(row, *controls)
    return differences
