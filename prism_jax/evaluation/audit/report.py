"""Parts of an audit's report: the effect matrix and the images behind its cells."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from prism_jax import config as configs
from prism_jax import report
from prism_jax.evaluation.audit import judge_errors as audit_judge_errors
from prism_jax.evaluation.audit import narrative as audit_narrative
from prism_jax.evaluation.audit import relations as audit_relations
from prism_jax.evaluation.audit import tables as audit_tables
from prism_jax.evaluation.audit.effect_matrix import ALL, PROBABILITY, STANDARD, TRUTH, Matrix
from prism_jax.evaluation.audit.measure import AuditResults
from prism_jax.evaluation.audit.narrative import counted
from prism_jax.evaluation.audit.scores import Scores
from prism_jax.evaluation.edited_cohort import AGE, Cases
from prism_jax.report.effect_map import Exhibit, HeatCell, HeatMap, Mark, Shown, ranked
from prism_jax.stats import effects
from prism_jax.stats.consensus import Agreement
from prism_jax.stats.effects import EffectConfig

if TYPE_CHECKING:
    from prism_jax.evaluation.audit.run import AuditRun

MOST = 3  # images each of the largest, the middle and the smallest effect under a cell
FULL = 1.5  # standardised effect of the strongest colour
LOOK_FIRST = (
    "Read “Effects found” first; then click on a strongly coloured cell of the effect matrix that is not framed: an "
    "attribute that the edit was not meant to change.",
    "Every effect is the change from the reconstruction (the inverted image, sampled back without an edit) to the "
    "edited image. It is an effect of the generative model, not a medical one.",
)
VERDICT_MARKS = {
    effects.INSUFFICIENT_DATA: "insufficient",
    effects.NO_EFFECT: "none",
    effects.NEGLIGIBLE: "negligible",
}
NAMES = {ALL: "all judges together", TRUTH: "the true counterfactuals"}


def report_of(config: "AuditRun", results: AuditResults) -> report.Report:
    """The report of an audit."""
    cases, matrix, without = results.cases, results.matrix, results.unreliable
    doubts = (
        *audit_narrative.doubtful(results.errors, config.min_auroc),
        *audit_narrative.unknown(matrix, cases, has_survey=results.survey is not None, without=without),
    )
    return report.Report(
        title=config.title,
        summary=summary(cases, matrix),
        headline=audit_narrative.headline(matrix, cases, without),
        look_first=LOOK_FIRST,
        notes=(
            report.Notes(
                title="Effects found",
                sentences=audit_narrative.found(matrix, results.sides, results.directions, without),
                if_empty=f"No side effects found{'; some cells are inconclusive' if doubts else ''}.",
            ),
            report.Notes(
                title="Effects ruled out",
                sentences=audit_narrative.ruled_out(matrix, without),
                if_empty="Nothing: for no attribute was the absence of an effect shown.",
            ),
            report.Notes(
                title="Inconclusive",
                sentences=doubts,
                if_empty="Nothing: for every cell either an effect or its absence was shown.",
            ),
        ),
        effects=_effect_map(config, results),
        tables=_tables(config, results),
        settings={
            "audit": json.loads((Path(config.run) / configs.FILE_NAME).read_text()),
            "cohort": json.loads((Path(config.cohort) / configs.FILE_NAME).read_text()),
        },
        versions=report.versions(),
    )


def _tables(config: "AuditRun", results: AuditResults) -> tuple[report.Table, ...]:
    """All tables that have rows."""
    cases, matrix = results.cases, results.matrix
    interactions = audit_relations.interactions(matrix, config.effects)
    tables = [
        audit_tables.cells(matrix),
        audit_tables.leakage(matrix, results.sides),
        audit_tables.directions(results.directions),
        None if interactions is None else audit_tables.interactions(interactions),
        audit_tables.groups(matrix, results.groups),
        audit_tables.masks(cases, results.inside, config.effects.bootstrap),
        audit_tables.errors(results.errors),
        audit_tables.adjusted(audit_judge_errors.adjusted(matrix, cases, results.scores, config.effects)),
        None if results.calls is None else audit_tables.calls(results.calls),
        audit_tables.needed(matrix, config.effects),
        audit_tables.attempts(cases),
    ]
    return tuple(table for table in tables if table is not None and table.rows)


def _effect_map(config: "AuditRun", results: AuditResults) -> report.EffectMap:
    cases, scores, matrix = results.cases, results.scores, results.matrix
    truths = None if results.phantom is None else [*cases.true_images(results.phantom)]
    behind, shown = exhibits(cases, scores, matrix, truths)
    return report.EffectMap(
        rows=tuple(edit.name for edit in matrix.edits),
        controls=frozenset(edit.name for edit in matrix.edits if edit.is_negative_control),
        columns=matrix.columns,
        maps=maps(matrix, config.effects, results.unreliable),
        note=note(config.effects, config.negligible),
        exhibits=behind,
        shown=shown,
    )


def maps(matrix: Matrix, config: EffectConfig, without: frozenset[str] = frozenset()) -> tuple[HeatMap, ...]:
    """One map for all judges together, one per judge, and one for the truth if it is known; `without`: unreliable
    attributes."""
    views = [ALL, *matrix.judges, *([TRUTH] if TRUTH in matrix.effects else [])]
    return tuple(
        HeatMap(
            name=NAMES.get(view, view),
            limit=FULL,
            cells=tuple(
                tuple(_cell(matrix, view, edit.name, column, config, without) for column in matrix.columns)
                for edit in matrix.edits
            ),
        )
        for view in views
    )


def note(config: EffectConfig, negligible: float) -> str:
    """Legend of the effect matrix."""
    unit = "standard deviations" if config.margin_of == "std" else "on the logit scale"
    return (
        "Numbers: mean change of the judged probability in percentage points (age: in years), edit minus "
        "reconstruction. Colour: change of the logit in standard deviations over all reconstructions, full at "
        f"{FULL:g}. Equivalence margin: {config.margin:g} {unit}. Effects below {100 * negligible:g} percentage points "
        "of probability are marked negligible. Click on a cell for the images behind it."
    )


def exhibits(
    cases: Cases, scores: Scores, matrix: Matrix, truths: list[np.ndarray] | None
) -> tuple[tuple[Exhibit, ...], dict[tuple[int, int], tuple[Shown, ...]]]:
    """(All exhibits, the exhibits shown for each cell)."""
    before, after = (scores.on(PROBABILITY, kind) for kind in ("reconstruction", "edited"))
    changes = (after - before).mean(axis=0)  # [n, c]
    under: dict[tuple[int, int], list[tuple[int, str, float]]] = {}
    for i, edit in enumerate(matrix.edits):
        places = cases.of(edit)
        for c in range(len(matrix.columns)):
            way = (
                np.sign(np.nanmean(changes[places, c])) or 1.0
            )  # for a mean decrease, the strongest decrease ranks first
            chosen = ranked(way * changes[places, c], MOST)
            under[i, c] = [(int(places[k]), rank, float(changes[places[k], c])) for k, rank in chosen]
    used = sorted({place for shown in under.values() for place, _, _ in shown})
    order = {place: number for number, place in enumerate(used)}
    rows = {edit.name: i for i, edit in enumerate(matrix.edits)}
    images = tuple(_exhibit(cases, scores, before, after, place, rows, truths) for place in used)
    shown = {
        (i, c): tuple(
            Shown(exhibit=order[place], rank=rank, change=audit_narrative.moved(size, matrix.columns[c]))
            for place, rank, size in listed
        )
        for (i, c), listed in under.items()
    }
    return images, shown


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
        row=rows[case.edit.name],
        **{kind: next(cases.pixels(kind, [place])) for kind in kinds},
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


def _cell(matrix: Matrix, view: str, edit: str, column: str, config: EffectConfig, without: frozenset[str]) -> HeatCell:
    return HeatCell(
        value=matrix.size(edit, column, view, STANDARD).effect.value,
        text=audit_narrative.signed(matrix.size(edit, column, view).effect.value, column),
        mark="unreliable" if column in without else _mark(matrix, view, edit, column, config),
        detail=_detail(matrix, view, edit, column),
        is_target=column in matrix.wanted[edit],
    )


def _mark(matrix: Matrix, view: str, edit: str, column: str, config: EffectConfig) -> Mark:
    judged = _judged(matrix, view, edit, column)
    if view == ALL and matrix.is_control_like(edit, column):
        return "control-like"
    if judged.verdict == effects.EFFECT:
        return "family" if judged.family_p <= config.alpha else "discovery"
    return VERDICT_MARKS.get(judged.verdict, "inconclusive")


def _judged(matrix: Matrix, view: str, edit: str, column: str) -> Agreement | effects.Cell:
    """The judgement of a cell by all judges together, or by one."""
    return matrix.agreement[edit, column] if view == ALL else matrix.size(edit, column, view, matrix.tested)


def _detail(matrix: Matrix, view: str, edit: str, column: str) -> str:
    effect, tested = matrix.size(edit, column, view).effect, matrix.size(edit, column, view, matrix.tested)
    if np.isnan(effect.value):
        return "Not measured."
    unit = "years" if column == AGE else "percentage points of probability"
    standard = matrix.size(edit, column, view, STANDARD).effect.value
    judged = _judged(matrix, view, edit, column)
    p_values = [audit_narrative.p_text(*each) for each in (("q", judged.q), ("family-wise p", judged.family_p))]
    p = "" if np.isnan(judged.q) else f" {', '.join(p_values)}."
    return (
        f"{audit_narrative.signed(effect.value, column)} {unit} (95 % interval "
        f"{audit_narrative.interval(effect, column)}; "
        f"{effect.count} patients); standardised {standard:+.2f}.{p} {judged.verdict.capitalize()}"
        f"{f': {tested.reason}' if tested.reason else ''}."
    )


def summary(cases: Cases, matrix: Matrix) -> str:
    """Summary of the audited cohort, in one sentence."""
    edits = sum(not edit.is_negative_control for edit in matrix.edits)
    controls = len(matrix.edits) - edits
    beside = f" and {counted(controls, 'negative control')}" if controls else ""
    images, patients = len(set(cases.images)), len(set(cases.patients))
    return (
        f"How {counted(edits, 'edit')}{beside} change {counted(len(matrix.columns), 'attribute')} in "
        f"{counted(images, 'image')} of {counted(patients, 'patient')}, as scored by "
        f"{len(matrix.judges)} independent classifiers ({', '.join(matrix.judges)})."
    )
