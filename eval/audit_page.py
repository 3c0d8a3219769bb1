"""The page of an audit: sentences, heat maps, the pictures behind every cell, tables."""

from collections.abc import Mapping

import numpy as np

from eval import audit_words
from eval.audit_cases import AGE, Cases
from eval.audit_judges import Scores
from eval.audit_matrix import ALL, LOGIT, PROBABILITY, TRUTH, Matrix
from prism_jax.audit import effects
from prism_jax.audit.effects import EffectConfig
from prism_jax.report.heatmap import Exhibit, HeatCell, HeatMap, Mark, Shown, ranked

MOST = 3  # pictures each of the largest, the middle and the smallest effect under a cell
FULL = 1.5  # standardised effect of the strongest colour
NAMES = {ALL: "all judges together", TRUTH: "the true counterfactuals"}


def maps(matrix: Matrix, config: EffectConfig) -> tuple[HeatMap, ...]:
    """All judges together first, then each, then the truth where it is known."""
    views = [ALL, *matrix.judges, *([TRUTH] if TRUTH in matrix.effects else [])]
    return tuple(
        HeatMap(
            name=NAMES.get(view, view),
            limit=FULL,
            cells=tuple(
                tuple(_cell(matrix, view, change.name, column, config) for column in matrix.columns)
                for change in matrix.changes
            ),
        )
        for view in views
    )


def note(config: EffectConfig) -> str:
    """How to read the map."""
    return (
        "Numbers: mean change of the judged probability in points (of age: years), edit less reconstruction. Colour: "
        f"the standardised change of the logit, full at {FULL:g} standard deviations. Margin of equivalence: "
        f"{config.margin:g} {'standard deviations' if config.margin_of == 'spread' else 'on the logit scale'}. "
        "Click on a cell for the pictures behind it."
    )


def exhibits(
    cases: Cases, scores: Scores, matrix: Matrix, truths: list[np.ndarray] | None
) -> tuple[tuple[Exhibit, ...], dict[tuple[int, int], tuple[Shown, ...]]]:
    """(The pictures shown anywhere, which of them under which cell)."""
    before, after = (scores.on(PROBABILITY, kind) for kind in ("reconstruction", "edited"))
    changes = (after - before).mean(axis=0)  # [n, c]
    under: dict[tuple[int, int], list[tuple[int, str, float]]] = {}
    for i, change in enumerate(matrix.changes):
        places = cases.of(change)
        for c in range(len(matrix.columns)):
            chosen = ranked(changes[places, c], MOST)
            under[i, c] = [(int(places[k]), rank, float(changes[places[k], c])) for k, rank in chosen]
    used = sorted({place for shown in under.values() for place, _, _ in shown})
    order = {place: number for number, place in enumerate(used)}
    rows = {change.name: i for i, change in enumerate(matrix.changes)}
    made = tuple(_exhibit(cases, scores, before, after, place, rows, truths) for place in used)
    shown = {
        cell: tuple(Shown(exhibit=order[place], rank=rank, change=size) for place, rank, size in listed)
        for cell, listed in under.items()
    }
    return made, shown


def _exhibit(
    cases: Cases,
    scores: Scores,
    before: np.ndarray,
    after: np.ndarray,
    place: int,
    rows: Mapping[str, int],
    truths: list[np.ndarray] | None,
) -> Exhibit:
    case = cases.cases[place]
    kinds = ("original", "reconstruction", "edited")
    return Exhibit(
        image=case.row["id"],
        patient=case.patient,
        row=rows[case.change.name],
        **{kind: next(cases.pictures(kind, [place])) for kind in kinds},
        truth=None if truths is None else truths[place],
        readings=tuple(
            "; ".join(
                f"{judge} {_read(before[j, place, c], column)} → {_read(after[j, place, c], column)}"
                for j, judge in enumerate(scores.judges)
            )
            for c, column in enumerate(scores.columns)
        ),
    )


def _read(value: float, column: str) -> str:
    return f"{value:.0f}" if column == AGE else f"{value:.2f}"


def _cell(matrix: Matrix, view: str, edit: str, column: str, config: EffectConfig) -> HeatCell:
    shown, tested = matrix.size(edit, column, view), matrix.size(edit, column, view, LOGIT)
    value = tested.standardised.value
    size = shown.effect.value
    text = "" if np.isnan(size) else f"{size * (1 if column == AGE else 100):+.1f}".replace("-", "−")
    verdict = matrix.agreement[edit, column].verdict if view == ALL else tested.verdict
    # Of edits that move what never varies there is no spread to divide by: the sign still has a colour.
    is_flat = np.isnan(value) and not np.isnan(tested.effect.value)
    return HeatCell(
        value=float(np.sign(tested.effect.value) * FULL) if is_flat else value,
        text=text,
        mark=_mark(matrix, view, edit, column, config),
        detail=_detail(matrix, view, edit, column, verdict),
        is_target=column in matrix.wanted[edit],
    )


def _mark(matrix: Matrix, view: str, edit: str, column: str, config: EffectConfig) -> Mark:
    one = matrix.agreement[edit, column] if view == ALL else matrix.size(edit, column, view, LOGIT)
    if one.verdict == effects.FEW:
        return "few"
    if one.verdict == effects.NONE:
        return "none"
    if one.verdict not in (effects.EFFECT, effects.SLIGHT):
        return "open"
    if view == ALL and not matrix.is_called(edit, column):
        return "placebo-like"
    return "family" if one.family_p <= config.alpha else "discovery"


def _detail(matrix: Matrix, view: str, edit: str, column: str, verdict: str) -> str:
    shown, tested = matrix.size(edit, column, view), matrix.size(edit, column, view, LOGIT)
    effect = shown.effect
    if np.isnan(effect.value):
        return f"Not measured. {shown.reason}"
    unit = "years" if column == AGE else "points of probability"
    scale = 1 if column == AGE else 100
    value = f"{effect.value * scale:+.1f}".replace("-", "−")
    chances = matrix.agreement[edit, column] if view == ALL else tested
    p = "" if np.isnan(chances.q) else f" q = {chances.q:.2g}, family-wise p = {chances.family_p:.2g}."
    return (
        f"{value} {unit} (95 % interval {audit_words.interval(effect, column)}; {effect.count} patients); "
        f"standardised, on logits, {tested.standardised.value:+.2f}.{p} {verdict.capitalize()}"
        f"{f': {tested.reason}' if tested.reason else ''}."
    ).replace("+nan", "not known")


def summary(cases: Cases, matrix: Matrix) -> str:
    """What the page is about, in a paragraph."""
    edits = sum(not change.is_placebo for change in matrix.changes)
    placebos = len(matrix.changes) - edits
    beside = f" and {placebos} placebo{'s' if placebos != 1 else ''}" if placebos else ""
    return (
        f"What {edits} edits{beside} did to {len(matrix.columns)} attributes of {len(set(cases.images))} images of "
        f"{len(set(cases.patients))} patients, in the eyes of {len(matrix.judges)} independent classifiers "
        f"({', '.join(matrix.judges)}). Every effect is against the reconstruction, the inverted image sampled back "
        "without an edit. An effect is one of the model that made the pictures, not of nature."
    )
