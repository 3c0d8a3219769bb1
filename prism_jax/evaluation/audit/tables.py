"""Tables of an audit's report."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from prism_jax.data.captions.phrases import spoken
from prism_jax.evaluation.audit.effect_matrix import ALL, LOGIT, PROBABILITY, STANDARD, TRUTH, Matrix
from prism_jax.evaluation.audit.judge_errors import Calls, Errors
from prism_jax.evaluation.audit.masks import Inside
from prism_jax.evaluation.audit.relations import Direction, Side, verdict
from prism_jax.evaluation.edited_cohort import AGE, Cases
from prism_jax.report import Column, Table
from prism_jax.report.tables import p_value
from prism_jax.stats import effects, power
from prism_jax.stats.effects import EffectConfig, Effects
from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap
from prism_jax.stats.misclassification import CorrectedChange
from prism_jax.stats.subgroups import Heterogeneity

SIZES = (0.05, 0.1, 0.2)  # changes of a probability for the table of sample sizes
YEARS = (1.0, 3.0, 5.0)


def cells(matrix: Matrix) -> Table:
    """All cells, by all judges together."""
    rows, has_truth = [], TRUTH in matrix.effects
    for (edit, column), agreement in matrix.agreement.items():
        excess = matrix.excess.get((edit, column))
        rows.append(
            (
                f"{edit}: {spoken(column)}",
                verdict(matrix, edit, column),
                scaled(matrix.size(edit, column).effect, column),
                matrix.size(edit, column, scale=LOGIT).effect,
                matrix.size(edit, column, scale=STANDARD).effect,
                *agreement.values,
                *map(p_value, (agreement.p, agreement.q, agreement.family_p)),
                None if excess is None else scaled(excess.effect, column),
                *((scaled(matrix.size(edit, column, TRUTH).effect, column),) if has_truth else ()),
            )
        )
    judges = [f"Standardised, {judge}" for judge in matrix.judges]
    columns = ("Edit: attribute", "Verdict", "Effect", "On logits", "Standardised", *judges, "p", "q", "Family-wise p",
               "Beyond negative controls", *(["True effect"] if has_truth else []))  # fmt: skip
    note = (
        "Effect: mean change of the judged probability in percentage points, of age in years, edit minus "
        "reconstruction. Standardised: change of the logit in standard deviations over all reconstructions. p by "
        "sign flips, the largest over judges; q by Benjamini and Hochberg and family-wise p by step-down max-T, "
        "separately for targets, other cells and negative controls. Beyond negative controls: difference in "
        "differences on the same images. Intervals are 95 % over patients."
    )
    return Table(title="All cells", columns=columns, rows=tuple(rows), note=note)


def scaled(estimate: Estimate, column: str) -> Estimate:
    """Probabilities in percentage points, clipped to ±100; years unchanged."""
    if column == AGE:
        return estimate
    ends = {name: float(np.clip(100 * getattr(estimate, name), -100, 100)) for name in ("value", "low", "high")}
    return dataclasses.replace(estimate, **ends)


def leakage(matrix: Matrix, sides: Sequence[Side]) -> Table:
    """Side effects per unit of change of the target, compared with associations in the data."""
    has_data = any(side.relation for side in sides)
    rows = []
    for side in sides:
        if not has_data and not matrix.is_called(side.edit, side.column):
            continue
        relation = (side.relation.data, side.relation.kind, side.relation.reason) if side.relation else (None, "", "")
        rows.append((f"{side.edit}: {side.column}", side.leakage, *(relation if has_data else ())))
    data = ("In the data", "Kind", "Reason") if has_data else ()
    note = "Change of the attribute per unit of change of the edit's target (probabilities; Fieller's interval)."
    if has_data:
        note += (
            " In the data: the slope of the attribute on the target, adjusted for view, age and sex. Known: also in "
            "the data; amplified: stronger in the edits; hidden: not in the data; not shown: no effect of the edit."
        )
    columns = ("Edit: attribute", "Leakage", *data)
    return Table(title="Leakage, compared with associations in the data", columns=columns, rows=tuple(rows), note=note)


def directions(measured: Sequence[Direction]) -> Table:
    rows = tuple(
        (
            f"{direction.first} / {direction.second}",
            *(direction.shares and getattr(direction.shares, name) for name in ("first", "second", "difference")),
            direction.shares and p_value(direction.shares.p),
            direction.reason,
        )
        for direction in measured
    )
    columns = ("Edits A / B", "Effect of A on B's target", "Effect of B on A's target", "Difference", "p",
               "Reason if missing")  # fmt: skip
    note = "Each as a fraction of the effect of the other edit on its own target."
    return Table(title="Asymmetry of side effects", columns=columns, rows=rows, note=note)


def interactions(measured: Effects) -> Table:
    rows = tuple(
        (f"{cell.edit}: {cell.column}", cell.effect, cell.standardised, p_value(cell.p), p_value(cell.q), cell.verdict)
        for cell in measured.cells
    )
    columns = ("Edits: attribute", "Interaction, logits", "Standardised", "p", "q", "Verdict")
    note = "Effect of two edits together minus the sum of the effects of each alone, on the same images."
    return Table(title="Interactions", columns=columns, rows=rows, note=note)


def groups(matrix: Matrix, by_group: Mapping[tuple[str, str], Sequence[Heterogeneity]]) -> Table:
    """Subgroups of targets and of effects found."""
    rows = []
    for (edit, grouping), columns in by_group.items():
        for group in columns:
            if group.column in matrix.wanted[edit] or matrix.is_called(edit, group.column) or group.q <= 0.05:
                each = "; ".join(f"{name} {_short(e)}" for name, e in zip(group.groups, group.effects, strict=True))
                rows.append(
                    (
                        f"{edit}: {spoken(group.column)}",
                        grouping,
                        each,
                        p_value(group.p),
                        p_value(group.q),
                        group.reason,
                    )
                )
    columns = ("Edit: attribute", "By", "Effect on logits (95 % interval; patients)", "p", "q", "Too few")
    note = (
        "p of equal effects in all subgroups (Welch), q over the attributes of an edit. Rows: targets, effects "
        "found, and q ≤ 0.05."
    )
    return Table(title="Subgroups", columns=columns, rows=tuple(rows), note=note)


def _short(estimate: Estimate) -> str:
    if np.isnan(estimate.low):
        return f"{estimate.value:+.2f} (n = {estimate.count})"
    return f"{estimate.value:+.2f} ({estimate.low:+.2f} to {estimate.high:+.2f}; n = {estimate.count})"


def errors(measured: Sequence[Errors]) -> Table:
    names = ("auroc", "accuracy", "sensitivity", "specificity", "age error")
    rows = tuple(
        (f"{error.judge}: {error.column}", error.images, *(error.figures.get(name) for name in names))
        for error in measured
    )
    columns = ("Judge: attribute", "Images", "AUROC", "Accuracy", "Sensitivity", "Specificity",
               Column(name="Age error", unit="years"))  # fmt: skip
    note = "On the original images, compared with the labels of the data set; threshold 0.5."
    return Table(title="Errors of the judges", columns=columns, rows=rows, note=note)


def adjusted(corrected: Mapping[tuple[str, str, str], CorrectedChange]) -> Table:
    rows = tuple(
        (f"{edit}: {spoken(column)}, {judge}", change.apparent, change.corrected)
        for (edit, column, judge), change in corrected.items()
    )
    columns = (
        "Edit: attribute, judge",
        Column(name="Change of the fraction, as judged", unit="%"),
        Column(name="Corrected for the judge's errors", unit="%"),
    )
    note = (
        "Fraction of images in which the attribute is recognised, edit minus reconstruction (Rogan and Gladen). "
        "Rows: targets and effects found."
    )
    return Table(title="Effects corrected for the judges' errors", columns=columns, rows=rows, note=note)


def calls(rates: Calls) -> Table:
    columns = ("Off-target cells", Column(name="Fraction", unit="%"))
    rows = (
        ("reported as an effect, of the cells without a true effect (false positives)", rates.false),
        ("true effect, of the reported effects (precision)", rates.right),
    )
    note = (
        "True effect: the same judges report it on the true counterfactuals. Counts are cells, including negative "
        "controls."
    )
    return Table(title="Reported effects compared with the truth", columns=columns, rows=rows, note=note)


def masks(cases: Cases, inside: Mapping[str, Inside], config: BootstrapConfig) -> Table:
    rows = []
    for edit in cases.edits:
        places = cases.of(edit)
        for name, region in inside.items():
            fraction = bootstrap(np.mean, region.change[places], subjects=cases.patients[places], config=config)
            area = region.area[places]
            rows.append((f"{edit.name}: {name}", fraction, float(np.nanmean(area)) if fraction.count else None))
    columns = ("Edit: mask", Column(name="Fraction of the change inside", unit="%"), Column(name="Area", unit="%"))
    note = (
        "Fraction of the sum of |edit − reconstruction|. For a uniform change it equals the mask's fraction of the "
        "image area."
    )
    return Table(title="Location of the change", columns=columns, rows=tuple(rows), note=note)


def needed(matrix: Matrix, config: EffectConfig) -> Table:
    """Patients needed to detect small effects, with the noise of the median edit."""
    rows = []
    for column in matrix.columns:
        place, sizes = matrix.columns.index(column), YEARS if column == AGE else SIZES
        noises = [power.variance_components(row, place) for edit, row in matrix.rows[ALL][PROBABILITY].items()
                  if column not in matrix.wanted[edit] and _can_vary(row, place)]  # fmt: skip
        noises = sorted((noise for noise in noises if noise.std > 0), key=lambda noise: noise.std)
        if noises:
            noise, family = noises[len(noises) // 2], len(matrix.edits) * len(matrix.columns)
            counts = [power.required_patients(size, noise, alpha=config.alpha, cells=family) for size in sizes]
            rows.append((column, noise.std if column == AGE else 100 * noise.std, *counts))
    columns = ("Attribute", "Sd of changes", "5 points, or 1 year", "10 points, or 3 years", "20 points, or 5 years")
    note = (
        "Patients, with one image each, that detect such an effect with 80 % power if all cells of the matrix are "
        "tested together. Noise: that of the median edit with another target."
    )
    return Table(title="Patients needed to detect an effect", columns=columns, rows=tuple(rows), note=note)


def _can_vary(row: effects.Row, place: int) -> bool:
    return len(np.unique(row.patients[~np.isnan(row.changes[:, place])])) > 1


def attempts(cases: Cases) -> Table:
    statuses = sorted({status for counts in cases.attempts.values() for status in counts} | {"done"})
    rows = []
    for edit, counts in cases.attempts.items():
        images = sum(case.edit.name == edit for case in cases.cases)
        rows.append((edit, sum(counts.values()), *(counts.get(status, 0) for status in statuses), images))
    columns = ("Edit", "Attempted", *(status.capitalize() for status in statuses), "Images judged")
    note = "All edited images are judged, accepted or refused; the cohort's manifest states why edits failed."
    return Table(title="Edits by status", columns=columns, rows=tuple(rows), note=note)
