"""What has a model entangled? `python -m eval.audit --config configs/NAME.py [--section.option value]`.

Shows the pictures of a cohort of counterfactuals to independent classifiers and writes into the run folder:
`effects.parquet` (a row an edit, judge and attribute), `matrix.json` and `matrix.csv` (every cell with intervals,
p-values and verdicts), and `audit.html`. The cohort is one that `python -m eval.counterfactuals` left, or is made
first and goes on where it was.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from prism_jax import config as configs
from prism_jax import json_codec, report
from prism_jax.data.sources.phantom import PhantomConfig
from prism_jax.data_report import survey
from prism_jax.data_report.survey import Survey
from prism_jax.evaluation import edited_cohort as cohorts
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation import judges as evaluation_judges
from prism_jax.evaluation.audit import effect_matrix as audit_effect_matrix
from prism_jax.evaluation.audit import export as audit_export
from prism_jax.evaluation.audit import judge_errors as audit_judge_errors
from prism_jax.evaluation.audit import masks as audit_masks
from prism_jax.evaluation.audit import narrative as audit_narrative
from prism_jax.evaluation.audit import relations as audit_relations
from prism_jax.evaluation.audit import report as audit_report
from prism_jax.evaluation.audit import scores as audit_scores
from prism_jax.evaluation.audit import tables as audit_tables
from prism_jax.evaluation.audit.effect_matrix import Matrix
from prism_jax.evaluation.audit.scores import Scores
from prism_jax.evaluation.counterfactuals import run as counterfactuals_run
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun
from prism_jax.evaluation.edited_cohort import Cases
from prism_jax.evaluation.judges import Judge
from prism_jax.stats.effects import EffectConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditRun:
    """Everything a run of this program depends on."""

    run: str = "runs/audit"
    title: str = "What edits take along"
    cohort: str = "runs/counterfactuals"
    """Run folder of `python -m eval.counterfactuals`."""
    make: CounterfactualRun | None = None
    """A cohort to make first, in its own run folder, which `cohort` must name; None: it is there already."""
    judges: tuple[Judge, ...] = ()
    """Two or more classifiers that had no part in making the edits, and were trained independently."""
    attributes: tuple[str, ...] = ()
    """Columns: what the judges are asked; none: all that every judge knows."""
    survey: str | None = None
    """What `prism data report` made of the data that the edited model was trained on; None: nothing to compare with."""
    effects: EffectConfig = EffectConfig()
    slight: float = 0.02
    """An effect is slight, however sure, where the judged probability changes by less."""
    min_auroc: float = 0.7
    """No effect is reported on an attribute that a judge recognises with a lower AUROC on the cohort's originals."""
    batch_size: int = 32
    """Pictures that a judge sees at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What an audit found, before it is written down."""

    cases: Cases
    scores: Scores
    matrix: Matrix
    survey: Survey | None
    phantom: PhantomConfig | None


def main(config: AuditRun) -> None:
    """Runs the audit in the folder `config.run`."""
    check(config)
    judges, columns = evaluation_judges.load(config.judges, config.attributes)
    known = None if config.survey is None else survey.read(config.survey)
    if config.make is not None:
        counterfactuals_run.main(config.make)
    cases = cohorts.read(config.cohort)
    run = Path(config.run)
    configs.write(config, run)
    phantom = ground_truth.phantom_config(cases.config.data)
    scores = audit_scores.score(judges, columns, cases, batch_size=config.batch_size, phantom=phantom)
    matrix = audit_effect_matrix.measure(cases, scores, config.effects, slight=config.slight)
    found = Found(cases=cases, scores=scores, matrix=matrix, survey=known, phantom=phantom)
    page = write(config, found)
    print(f"{run / 'audit.html'}: {(page.notes[0].sentences or (page.notes[0].if_empty,))[0]}", file=sys.stderr)


def check(config: AuditRun) -> None:
    """Raises ValueError for settings that do not fit each other, before anything is loaded."""
    if not 0 < config.slight < 1:
        raise ValueError(f"slight {config.slight} is no change of a probability; use one between 0 and 1, as 0.02")
    if not 0 <= config.min_auroc < 1:
        raise ValueError(f"min_auroc must be at least 0 and below 1, got {config.min_auroc}; 0.5 is chance")
    if config.batch_size < 1:
        raise ValueError(f"batch_size {config.batch_size} shows no picture; use 1 or more")
    if config.make is not None and config.make.run != config.cohort:
        raise ValueError(f"cohort is {config.cohort}, but make.run is {config.make.run}; name one folder in both")
    if config.make is not None and (config.make.processes.count > 1 or config.make.processes.coordinator):
        raise ValueError(
            "an audit makes its cohort in one process; make it with eval.counterfactuals, then leave make out"
        )


def write(config: AuditRun, found: Found) -> report.Report:
    """Measures what lies between the cells, and writes everything."""
    run, cases, scores, matrix = Path(config.run), found.cases, found.scores, found.matrix
    inside = audit_masks.inside(cases, found.phantom)
    audit_export.write_table(audit_export.effects_table(cases, scores, inside), run / "effects.parquet")
    sides = audit_relations.sides(matrix, found.survey, config.effects)
    directions = audit_relations.directions(matrix, config.effects)
    groups = audit_relations.groups(matrix, cases, config.effects)
    errors = audit_judge_errors.errors(cases, scores, config.effects.bootstrap)
    more = {
        "sides": json_codec.encode(sides),
        "directions": json_codec.encode(directions),
        "subgroups": [
            {"edit": edit, "by": by, "columns": json_codec.encode(columns)} for (edit, by), columns in groups.items()
        ],
        "judges_errors": json_codec.encode(errors),
        "calls": json_codec.encode(audit_judge_errors.calls(matrix)),
        "attempts": json_codec.encode(cases.attempts),
    }
    json_codec.write(audit_export.matrix_record(matrix, more), run / "matrix.json")
    audit_export.write_text(audit_export.matrix_csv(matrix), run / "matrix.csv")
    tables = _tables(config, found, sides, directions, groups, errors, inside)
    page = _page(config, found, sides, directions, errors, tables)
    report.write(page, run / "audit.html")
    return page


def _tables(
    config: AuditRun, found: Found, sides: Any, directions: Any, groups: Any, errors: Any, inside: Any
) -> tuple[report.Table, ...]:
    """Those that have something in them."""
    cases, matrix = found.cases, found.matrix
    interactions = audit_relations.interactions(matrix, config.effects)
    calls = audit_judge_errors.calls(matrix)
    made = [
        audit_tables.cells(matrix),
        audit_tables.leakage(matrix, sides),
        audit_tables.directions(directions),
        None if interactions is None else audit_tables.interactions(interactions),
        audit_tables.doses(audit_relations.doses(matrix, config.effects)),
        audit_tables.groups(matrix, groups),
        audit_tables.masks(cases, inside, config.effects.bootstrap),
        audit_tables.errors(errors),
        audit_tables.adjusted(audit_judge_errors.adjusted(matrix, cases, found.scores, config.effects)),
        None if calls is None else audit_tables.calls(calls),
        audit_tables.needed(matrix, config.effects),
        audit_tables.attempts(cases),
    ]
    return tuple(table for table in made if table is not None and table.rows)


def _page(
    config: AuditRun, found: Found, sides: Any, directions: Any, errors: Any, tables: tuple[report.Table, ...]
) -> report.Report:
    cases, matrix = found.cases, found.matrix
    without = audit_narrative.unreliable(errors, config.min_auroc)
    doubts = (
        *audit_narrative.doubtful(errors, config.min_auroc),
        *audit_narrative.unknown(matrix, cases, has_survey=found.survey is not None, without=without),
    )
    return report.Report(
        title=config.title,
        summary=audit_report.summary(cases, matrix),
        headline=audit_narrative.headline(matrix, cases, without),
        look_first=audit_report.look_first(matrix),
        notes=(
            report.Notes(
                title="What was found",
                sentences=audit_narrative.found(matrix, sides, directions, without),
                if_empty="No effects other than the intended ones.",
            ),
            report.Notes(
                title="What was ruled out",
                sentences=audit_narrative.ruled_out(matrix, without),
                if_empty="Nothing: for no attribute was the absence of an effect shown.",
            ),
            report.Notes(
                title="What cannot be concluded",
                sentences=doubts,
                if_empty="Nothing: for every cell either an effect or its absence was shown.",
            ),
        ),
        effects=_effect_map(config, found, without),
        tables=tables,
        settings={
            "audit": json.loads((Path(config.run) / configs.FILE_NAME).read_text()),
            "cohort": json.loads((Path(config.cohort) / configs.FILE_NAME).read_text()),
        },
        versions=report.versions(),
    )


def _effect_map(config: AuditRun, found: Found, without: frozenset[str]) -> report.EffectMap:
    cases, scores, matrix = found.cases, found.scores, found.matrix
    truths = None if found.phantom is None else [*audit_scores.true_pictures(cases, found.phantom)]
    exhibits, shown = audit_report.exhibits(cases, scores, matrix, truths)
    return report.EffectMap(
        rows=tuple(edit.name for edit in matrix.edits),
        controls=frozenset(edit.name for edit in matrix.edits if edit.is_negative_control),
        columns=matrix.columns,
        maps=audit_report.maps(matrix, config.effects, without),
        note=audit_report.note(config.effects, config.slight),
        exhibits=exhibits,
        shown=shown,
    )
