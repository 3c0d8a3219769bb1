"""Audit of a model: effects and side effects of its edits. `prism eval audit --config NAME [--section.option value]`.

Scores the images of a cohort of counterfactuals with independent classifiers and writes into the run folder:
`effects.parquet` (one row per edit, judge and attribute), `matrix.json` and `matrix.csv` (every cell with intervals,
p-values and verdicts), and `audit.html`. The cohort is a run folder of `prism eval counterfactuals`; `make` names one
to run first, or to resume.
"""

import dataclasses
import sys
from pathlib import Path

from prism_jax import config as configs
from prism_jax import json_codec, report
from prism_jax.atomic import atomic_write
from prism_jax.data_report import survey
from prism_jax.evaluation import edited_cohort as cohorts
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation import judges as evaluation_judges
from prism_jax.evaluation.audit import export as audit_export
from prism_jax.evaluation.audit import report as audit_report
from prism_jax.evaluation.audit import scores as audit_scores
from prism_jax.evaluation.audit.measure import AuditResults, measure
from prism_jax.evaluation.counterfactuals import run as counterfactuals_run
from prism_jax.evaluation.counterfactuals.manifest import write_table
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun
from prism_jax.evaluation.judges import Judge
from prism_jax.stats.effects import EffectConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditRun:
    """Configuration of an audit."""

    run: str = "runs/audit"
    """Run folder."""
    title: str = "Side effects of text edits"
    """Title of the report."""
    cohort: str = "runs/counterfactuals"
    """Run folder of `prism eval counterfactuals`."""
    make: CounterfactualRun | None = None
    """Cohort to make first, in its own run folder, which `cohort` must name; None: it exists already."""
    judges: tuple[Judge, ...] = ()
    """Two or more independently trained classifiers that are not used to make the edits."""
    attributes: tuple[str, ...] = ()
    """Attributes to judge, the columns of the matrix; empty: all that every judge predicts."""
    survey: str | None = None
    """Folder of `prism data report` on the training data of the edited model; None: no comparison with the data."""
    effects: EffectConfig = EffectConfig()
    negligible: float = 0.02
    """A significant effect is negligible where the judged probability changes by less."""
    min_auroc: float = 0.7
    """No effect is reported on an attribute that a judge recognises with a lower AUROC on the cohort's originals."""
    batch_size: int = 32
    """Images per batch of a judge."""


def main(config: AuditRun) -> None:
    """Runs the audit in the folder `config.run`."""
    check(config)
    judges, columns = evaluation_judges.load(config.judges, config.attributes)
    data_survey = None if config.survey is None else survey.read(config.survey)
    if config.make is not None:
        counterfactuals_run.main(config.make)
    cases = cohorts.read(config.cohort)
    run = Path(config.run)
    configs.write(config, run)
    phantom = ground_truth.phantom_config(cases.config.data)
    scores = audit_scores.score(judges, columns, cases, batch_size=config.batch_size, phantom=phantom)
    page = write(config, measure(config, cases, scores, data_survey, phantom))
    print(f"{run / 'audit.html'}: {(page.notes[0].sentences or (page.notes[0].if_empty,))[0]}", file=sys.stderr)


def check(config: AuditRun) -> None:
    """Raises ValueError for settings that do not fit each other, before anything is loaded."""
    if not 0 < config.negligible < 1:
        raise ValueError(f"negligible must be between 0 and 1, got {config.negligible}; 0.02 is usual")
    if not 0 <= config.min_auroc < 1:
        raise ValueError(f"min_auroc must be at least 0 and below 1, got {config.min_auroc}; 0.5 is chance")
    if config.batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {config.batch_size}")
    if config.make is not None and config.make.run != config.cohort:
        raise ValueError(f"cohort is {config.cohort}, but make.run is {config.make.run}; name one folder in both")
    if config.make is not None and (config.make.processes.count > 1 or config.make.processes.coordinator):
        raise ValueError(
            "an audit generates its cohort in one process; run prism eval counterfactuals first, then set make to None"
        )


def write(config: AuditRun, results: AuditResults) -> report.Report:
    """Writes the tables of effects and the report; returns the report."""
    run, matrix = Path(config.run), results.matrix
    table = audit_export.effects_table(results.cases, results.scores, results.inside)
    write_table(table, run / "effects.parquet")
    json_codec.write(audit_export.matrix_record(matrix, results.record()), run / "matrix.json")
    with atomic_write(run / "matrix.csv") as partial:
        partial.write_text(audit_export.matrix_csv(matrix), encoding="utf-8")
    page = audit_report.report_of(config, results)
    report.write(page, run / "audit.html")
    return page
