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

from eval import cases as cohorts
from eval import counterfactuals, judging, truth
from eval.audit import errors as audit_errors
from eval.audit import masks as audit_masks
from eval.audit import matrix as audit_matrix
from eval.audit import outputs as audit_outputs
from eval.audit import page as audit_page
from eval.audit import relations as audit_relations
from eval.audit import scores as audit_scores
from eval.audit import tables as audit_tables
from eval.audit import words as audit_words
from eval.audit.matrix import Matrix
from eval.audit.scores import Scores
from eval.cases import Cases
from eval.counterfactuals import CounterfactualRun
from eval.judging import Judge
from prism_jax import config as configs
from prism_jax import report
from prism_jax.audit import record, survey
from prism_jax.audit.effects import EffectConfig
from prism_jax.audit.survey import Survey
from prism_jax.data.phantom_dataset import PhantomConfig
from prism_jax.report import audit_html
from prism_jax.report.heatmap import AuditPage


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
    judges, columns = judging.load(config.judges, config.attributes)
    known = None if config.survey is None else survey.read(config.survey)
    if config.make is not None:
        counterfactuals.main(config.make)
    cases = cohorts.read(config.cohort)
    run = Path(config.run)
    configs.write(config, run)
    phantom = truth.phantom_config(cases.config.data)
    scores = audit_scores.score(judges, columns, cases, batch_size=config.batch_size, phantom=phantom)
    matrix = audit_matrix.measure(cases, scores, config.effects, slight=config.slight)
    found = Found(cases=cases, scores=scores, matrix=matrix, survey=known, phantom=phantom)
    page = write(config, found)
    print(f"{run / 'audit.html'}: {(page.found or ('nothing found',))[0]}", file=sys.stderr)


def check(config: AuditRun) -> None:
    """Raises ValueError for settings that do not fit each other, before anything is loaded."""
    if not 0 < config.slight < 1:
        raise ValueError(f"slight {config.slight} is no change of a probability; use one between 0 and 1, as 0.02")
    if config.batch_size < 1:
        raise ValueError(f"batch_size {config.batch_size} shows no picture; use 1 or more")
    if config.make is not None and config.make.run != config.cohort:
        raise ValueError(f"cohort is {config.cohort}, but make.run is {config.make.run}; name one folder in both")
    if config.make is not None and (config.make.processes.count > 1 or config.make.processes.coordinator):
        raise ValueError(
            "an audit makes its cohort in one process; make it with eval.counterfactuals, then leave make out"
        )


def write(config: AuditRun, found: Found) -> AuditPage:
    """Measures what lies between the cells, and writes everything."""
    run, cases, scores, matrix = Path(config.run), found.cases, found.scores, found.matrix
    inside = audit_masks.inside(cases, found.phantom)
    audit_outputs.write_table(audit_outputs.effects_table(cases, scores, inside), run / "effects.parquet")
    sides = audit_relations.sides(matrix, found.survey, config.effects)
    directions = audit_relations.directions(matrix, config.effects)
    groups = audit_relations.groups(matrix, cases, config.effects)
    errors = audit_errors.errors(cases, scores, config.effects.bootstrap)
    more = {
        "sides": record.encode(sides),
        "directions": record.encode(directions),
        "subgroups": [
            {"edit": edit, "by": by, "columns": record.encode(columns)} for (edit, by), columns in groups.items()
        ],
        "judges_errors": record.encode(errors),
        "calls": record.encode(audit_errors.calls(matrix)),
        "attempts": record.encode(cases.attempts),
    }
    record.write(audit_outputs.matrix_record(matrix, more), run / "matrix.json")
    audit_outputs.write_text(audit_outputs.matrix_csv(matrix), run / "matrix.csv")
    tables = _tables(config, found, sides, directions, groups, errors, inside)
    page = _page(config, found, sides, directions, errors, tables)
    audit_html.write(page, run / "audit.html")
    return page


def _tables(
    config: AuditRun, found: Found, sides: Any, directions: Any, groups: Any, errors: Any, inside: Any
) -> tuple[report.Table, ...]:
    """Those that have something in them."""
    cases, matrix = found.cases, found.matrix
    interactions = audit_relations.interactions(matrix, config.effects)
    calls = audit_errors.calls(matrix)
    made = [
        audit_tables.cells(matrix),
        audit_tables.leakage(matrix, sides),
        audit_tables.directions(directions),
        None if interactions is None else audit_tables.interactions(interactions),
        audit_tables.doses(audit_relations.doses(matrix, config.effects)),
        audit_tables.groups(matrix, groups),
        audit_tables.masks(cases, inside, config.effects.bootstrap),
        audit_tables.errors(errors),
        audit_tables.adjusted(audit_errors.adjusted(matrix, cases, found.scores, config.effects)),
        None if calls is None else audit_tables.calls(calls),
        audit_tables.needed(matrix, config.effects),
        audit_tables.attempts(cases),
    ]
    return tuple(table for table in made if table is not None and table.rows)


def _page(
    config: AuditRun, found: Found, sides: Any, directions: Any, errors: Any, tables: tuple[report.Table, ...]
) -> AuditPage:
    cases, scores, matrix = found.cases, found.scores, found.matrix
    truths = None if found.phantom is None else [*audit_scores.true_pictures(cases, found.phantom)]
    exhibits, shown = audit_page.exhibits(cases, scores, matrix, truths)
    return AuditPage(
        title=config.title,
        summary=audit_page.summary(cases, matrix),
        headline=audit_words.headline(matrix, cases),
        found=audit_words.found(matrix, sides, directions),
        ruled_out=audit_words.ruled_out(matrix),
        unknown=(
            *audit_words.doubtful(errors),
            *audit_words.unknown(matrix, cases, config.effects, has_survey=found.survey is not None),
        ),
        rows=tuple(change.name for change in matrix.changes),
        placebos=frozenset(change.name for change in matrix.changes if change.is_placebo),
        columns=matrix.columns,
        maps=audit_page.maps(matrix, config.effects),
        map_note=audit_page.note(config.effects, config.slight),
        exhibits=exhibits,
        shown=shown,
        tables=tables,
        settings={
            "audit": json.loads((Path(config.run) / configs.FILE_NAME).read_text()),
            "cohort": json.loads((Path(config.cohort) / configs.FILE_NAME).read_text()),
        },
        versions=report.versions(),
    )
