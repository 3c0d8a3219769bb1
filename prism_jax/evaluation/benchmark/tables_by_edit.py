"""Tables of single edits, and of single edited attributes."""

from collections.abc import Mapping

import numpy as np

from prism_jax.data.captions.phrases import spoken
from prism_jax.evaluation.benchmark import estimates
from prism_jax.evaluation.benchmark import measure as benchmark_measure
from prism_jax.evaluation.benchmark.estimates import MethodEstimates
from prism_jax.evaluation.benchmark.ground_truth import MODES
from prism_jax.evaluation.benchmark.tables import BY_PATIENT, Results, mode_of, table, times
from prism_jax.evaluation.edited_cohort import AGE
from prism_jax.report import Column, Table
from prism_jax.stats.intervals import Estimate

AGREEMENT = {"accuracy": ("accuracy", "%"), "auroc": ("AUROC", ""), "error": ("mean error", "years")}


def effectiveness_by_attribute(results: Results) -> list[Table]:
    """Effectiveness by edited attribute, over all its edits in both directions."""
    changed = next(iter(results.seeds.values()))[0].changed
    return [
        _effectiveness(results, k, changed[:, k]) for k in range(len(results.inputs.columns)) if changed[:, k].any()
    ]


def _effectiveness(results: Results, k: int, rows: np.ndarray) -> Table:
    columns = results.inputs.columns
    estimates_of = {
        method.name: estimates.of_effectiveness(results.seeds[method.name], results.inputs, rows, results.config)
        for method in results.methods
    }
    order = [columns[k], *(column for column in columns if column != columns[k])]
    known = [column for column in order if all(column in one for one in estimates_of.values())]
    cells = [(column, label) for column in known for label in estimates_of[results.methods[0].name][column]]
    headings = (
        Column(name=f"{spoken(column)}, {AGREEMENT[label][0]}", unit=AGREEMENT[label][1]) for column, label in cells
    )
    return Table(
        title=f"Effectiveness of do({spoken(columns[k])})",
        columns=("Method", "Mode", *headings),
        rows=tuple(
            (method.name, mode_of(method), *(estimates_of[method.name][c][label] for c, label in cells))
            for method in results.methods
        ),
        note=(
            "Agreement of the judges' predictions for the counterfactuals with the expected attributes. The first "
            "columns are of the edited attribute, in both directions; the others show what was preserved, and in graph "
            f"mode what followed by the method's own mechanisms. The oracle is the upper bound for these judges. "
            f"{BY_PATIENT}"
        ),
    )


def of_edit(results: Results, edit: str, estimates_of: Mapping[str, MethodEstimates]) -> list[Table]:
    """All measures of one edit, its effects, and on phantoms their bias."""
    note = "All measures of this edit alone, as in the tables of all edits."
    tables = [
        table(results, f"{edit}: all measures", tuple(results.measures), estimates_of, note),
        _effects(results, edit),
    ]
    return tables if results.inputs.truths is None else [*tables, _bias(results, edit)]


def _effects(results: Results, edit: str) -> Table:
    rows, inputs, config = results.of(edit), results.inputs, results.config
    effects = {
        method.name: estimates.of_effects(results.seeds[method.name], inputs, rows, config)
        for method in results.methods
    }
    lines = [(method.name, mode_of(method), *_points(effects[method.name])) for method in results.methods]
    for mode in MODES if inputs.truths is not None else ():
        true = benchmark_measure.true_effects(inputs.truths, mode, inputs.columns)
        lines.append((f"true effect, {mode}", mode, *_points(estimates.of_truth(true, inputs, rows, config))))
    note = (
        "Mean effect of the edit on every judged attribute: percentage points of the judges' probability, and years, "
        "relative to the method's own null edit. On phantoms the last rows are the true effects by the structural "
        "equations: of surgical mode for methods of surgical mode, of graph mode for the others."
    )
    return Table(title=f"{edit}: effects", columns=_headings(results), rows=tuple(lines), note=f"{note} {BY_PATIENT}")


def _bias(results: Results, edit: str) -> Table:
    rows, inputs, config = results.of(edit), results.inputs, results.config
    bias = {
        method.name: estimates.of_bias(results.seeds[method.name], inputs, rows, config) for method in results.methods
    }
    lines = tuple((method.name, mode_of(method), *_points(bias[method.name])) for method in results.methods)
    note = f"Effect minus the true effect in the method's mode, subject by subject; 0 is agreement. {BY_PATIENT}"
    return Table(title=f"{edit}: bias of effects", columns=_headings(results), rows=lines, note=note)


def _headings(results: Results) -> tuple[str | Column, ...]:
    estimates_of = (Column(name=spoken(n), unit="years" if n == AGE else "points") for n in results.inputs.columns)
    return ("Method", "Mode", *estimates_of)


def _points(estimates_of: Mapping[str, Estimate]) -> list[Estimate]:
    return [estimate if name == AGE else times(estimate, 100.0) for name, estimate in estimates_of.items()]
