"""Errors of the judges on labelled originals and on true counterfactuals, and effects corrected for these errors."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from prism_jax.evaluation import edited_cohort as cohorts
from prism_jax.evaluation.audit.effect_matrix import PROBABILITY, TRUTH, Matrix
from prism_jax.evaluation.audit.scores import Scores
from prism_jax.evaluation.edited_cohort import AGE, Cases
from prism_jax.metrics.classification import CUT, ClassificationMetrics, age_error
from prism_jax.stats import effects
from prism_jax.stats.effects import EffectConfig
from prism_jax.stats.intervals import BootstrapConfig, Estimate, wilson
from prism_jax.stats.misclassification import CorrectedChange, corrected_change


@dataclasses.dataclass(frozen=True, kw_only=True)
class Errors:
    """Errors of one judge on one attribute of the original images; NaN without positive or without negative labels."""

    judge: str
    column: str
    images: int  # with a label
    figures: Mapping[str, Estimate]  # "auroc", "accuracy", "sensitivity", "specificity", or "age error" in years


def errors(cases: Cases, scores: Scores, config: BootstrapConfig) -> tuple[Errors, ...]:
    """Errors of each judge and attribute on the labelled originals, each image once."""
    firsts, patients = cases.firsts, cases.patients[cases.firsts]
    labels = cohorts.labels([cases.cases[i].attributes for i in firsts], scores.columns)
    probabilities = scores.on(PROBABILITY, "original")[:, firsts]
    return tuple(
        Errors(
            judge=judge,
            column=column,
            images=int(np.count_nonzero(~np.isnan(labels[:, c]))),
            figures=_figures(probabilities[j, :, c], labels[:, c], patients, column, config),
        )
        for j, judge in enumerate(scores.judges)
        for c, column in enumerate(scores.columns)
    )


def _figures(
    probabilities: np.ndarray, labels: np.ndarray, patients: np.ndarray, column: str, config: BootstrapConfig
) -> dict[str, Estimate]:
    if column == AGE:
        return {"age error": age_error(probabilities, labels, patients=patients, config=config)}
    computed = ClassificationMetrics.of(probabilities, labels, patients=patients).compute(config=config)
    hits = {
        name: (probabilities[labels == value] >= CUT) == value
        for name, value in (("sensitivity", 1), ("specificity", 0))
    }
    rates = {name: wilson(int(hit.sum()), len(hit), level=config.level) for name, hit in hits.items()}
    return {name: computed[name] for name in ("auroc", "accuracy")} | rates


def adjusted(
    matrix: Matrix, cases: Cases, scores: Scores, config: EffectConfig
) -> dict[tuple[str, str, str], CorrectedChange]:
    """Corrected change of prevalence by edit, attribute and judge, for targets and side effects found.

    Omitted if the data set has too few positive or negative labels to estimate the judge's errors, or the judge is no
    better than chance; see the table of errors.
    """
    firsts = cases.firsts
    labels = cohorts.labels([cases.cases[i].attributes for i in firsts], scores.columns)
    corrected = {}
    for edit in matrix.edits:
        places = cases.of(edit)
        for c, column in enumerate(scores.columns):
            is_asked = column in matrix.wanted[edit.name] or matrix.is_called(edit.name, column)
            if column == AGE or not is_asked:
                continue
            has_label = ~np.isnan(labels[:, c])
            for j, judge in enumerate(scores.judges):
                judged = lambda kind, at, j=j, c=c: getattr(scores, kind)[j, at, c] >= 0
                try:
                    corrected[edit.name, column, judge] = corrected_change(
                        before=judged("reconstruction", places),
                        after=judged("edited", places),
                        patients=cases.patients[places],
                        labels=labels[has_label, c] == 1,
                        judged=judged("original", firsts)[has_label],
                        label_patients=cases.patients[firsts][has_label],
                        config=config,
                    )
                except ValueError:
                    continue
    return corrected


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calls:
    """Accuracy of an audit's reported effects, where the truth is known. Counts are cells."""

    right: Estimate  # fraction of the reported effects that are true effects
    false: Estimate  # fraction reported, of the cells without a true effect


def calls(matrix: Matrix) -> Calls | None:
    """Reported off-target and negative-control effects compared with the judges' scores of the true counterfactuals.

    A cell has a true effect if the same judges report one on the true counterfactuals: this includes other findings
    that the edited one truly hides or moves. None without true counterfactuals.
    """
    if TRUTH not in matrix.effects:
        return None
    truth = matrix.effects[TRUTH][matrix.tested]
    cells = [
        cell
        for cell in matrix.agreement.values()
        if cell.family != effects.ON and cell.verdict != effects.INSUFFICIENT_DATA
    ]
    is_true = np.array([truth.cell(cell.edit, cell.column).verdict == effects.EFFECT for cell in cells], bool)
    called = np.array([matrix.is_called(cell.edit, cell.column) for cell in cells], bool)
    return Calls(
        right=wilson(int((called & is_true).sum()), int(called.sum())),
        false=wilson(int((called & ~is_true).sum()), int((~is_true).sum())),
    )
