"""The judges' own errors: on labelled originals, on true counterfactuals, and effects with these errors taken out."""

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
from prism_jax.stats.misclassification import CorrectedChange, JudgedEdits, LabelledImages, corrected_change


@dataclasses.dataclass(frozen=True, kw_only=True)
class Errors:
    """Errors of one judge on one attribute of the original images; NaN where one kind of label is missing."""

    judge: str
    column: str
    images: int  # with a label
    figures: Mapping[str, Estimate]  # "auroc", "accuracy", "sensitivity", "specificity", or "age error" in years


def errors(cases: Cases, scores: Scores, config: BootstrapConfig) -> tuple[Errors, ...]:
    """Each judge on the originals, each once, whose labels the data set has."""
    firsts, patients = cases.firsts, cases.patients[cases.firsts]
    labels = cohorts.labels([cases.cases[i] for i in firsts], scores.columns)
    seen = scores.on(PROBABILITY, "original")[:, firsts]
    return tuple(
        Errors(
            judge=judge,
            column=column,
            images=int(np.count_nonzero(~np.isnan(labels[:, c]))),
            figures=_figures(seen[j, :, c], labels[:, c], patients, column, config),
        )
        for j, judge in enumerate(scores.judges)
        for c, column in enumerate(scores.columns)
    )


def _figures(
    seen: np.ndarray, labels: np.ndarray, patients: np.ndarray, column: str, config: BootstrapConfig
) -> dict[str, Estimate]:
    if column == AGE:
        return {"age error": age_error(seen, labels, patients=patients, config=config)}
    computed = ClassificationMetrics.of(seen, labels, patients=patients).compute(config=config)
    hits = {name: (seen[labels == value] >= CUT) == value for name, value in (("sensitivity", 1), ("specificity", 0))}
    shares = {name: wilson(int(hit.sum()), len(hit), level=config.level) for name, hit in hits.items()}
    return {name: computed[name] for name in ("auroc", "accuracy")} | shares


def adjusted(
    matrix: Matrix, cases: Cases, scores: Scores, config: EffectConfig
) -> dict[tuple[str, str, str], CorrectedChange]:
    """By edit, attribute and judge: the change of the true share, for targets and for effects found beside them.

    Left out where the data set has too few labels of either kind to know the judge's errors, or the judge is no better
    than chance on them; the table of errors shows which.
    """
    firsts = cases.firsts
    labels = cohorts.labels([cases.cases[i] for i in firsts], scores.columns)
    found = {}
    for edit in matrix.edits:
        places = cases.of(edit)
        for c, column in enumerate(scores.columns):
            is_asked = column in matrix.wanted[edit.name] or matrix.is_called(edit.name, column)
            if column == AGE or not is_asked:
                continue
            known = ~np.isnan(labels[:, c])
            for j, judge in enumerate(scores.judges):
                judged = lambda kind, at, j=j, c=c: (getattr(scores, kind)[j, at, c] >= 0).astype(np.int64)
                seen = JudgedEdits(
                    before=judged("reconstruction", places),
                    after=judged("edited", places),
                    patients=cases.patients[places],
                )
                labelled = LabelledImages(
                    true=labels[known, c].astype(np.int64),
                    judged=judged("original", firsts)[known],
                    patients=cases.patients[firsts][known],
                )
                try:
                    found[edit.name, column, judge] = corrected_change(seen, labelled, config=config)
                except ValueError:
                    continue
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calls:
    """How often an audit's calls are right, where the truth is known. Counts are cells."""

    right: Estimate  # share of the effects beside targets that the truth has too, of those called
    false: Estimate  # share called, of the cells beside targets without an effect in the truth


def calls(matrix: Matrix) -> Calls | None:
    """The calls beside targets and placebos' against the true counterfactuals, in the eyes of the same judges.

    A cell is without a true effect where the true counterfactuals show none beyond the margin: what an edit truly
    hides or moves is seen by the judges there too. None without true counterfactuals.
    """
    if TRUTH not in matrix.effects:
        return None
    truth = matrix.effects[TRUTH][matrix.tested]
    cells = [
        one
        for one in matrix.agreement.values()
        if one.family != effects.ON and one.verdict != effects.INSUFFICIENT_DATA
    ]
    is_true = np.array([truth.cell(one.edit, one.column).verdict == effects.EFFECT for one in cells], bool)
    called = np.array([matrix.is_called(one.edit, one.column) for one in cells], bool)
    return Calls(
        right=wilson(int((called & is_true).sum()), int(called.sum())),
        false=wilson(int((called & ~is_true).sum()), int((~is_true).sum())),
    )


def true_effect(matrix: Matrix, edit: str, column: str) -> Estimate | None:
    """The effect of the true counterfactuals on the probability scale; None where there are none."""
    return matrix.size(edit, column, TRUTH).effect if TRUTH in matrix.effects else None
