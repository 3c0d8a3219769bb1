"""Tables of single edits, and of single edited attributes."""

from collections.abc import Mapping, Sequence

import numpy as np

from prism_jax.data.captions.phrases import spoken
from prism_jax.data.targets import AGE
from prism_jax.evaluation.benchmark import estimates
from prism_jax.evaluation.benchmark import measure as benchmark_measure
from prism_jax.evaluation.benchmark.estimates import EachSeed
from prism_jax.evaluation.benchmark.ground_truth import MODES
from prism_jax.evaluation.benchmark.tables import Results, of_methods, table, times
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
        method.name: estimates.of_effectiveness(results.seeds[method.name], results.inputs, rows)
        for method in results.methods
    }
    order = [columns[k], *(column for column in columns if column != columns[k])]
    shared = [column for column in order if all(column in each for each in estimates_of.values())]
    cells = [(column, label) for column in shared for label in estimates_of[results.methods[0].name][column]]
    headings = [
        Column(name=f"{spoken(column)}, {AGREEMENT[label][0]}", unit=AGREEMENT[label][1]) for column, label in cells
    ]
    note = (
        "Agreement of the judges' predictions for the counterfactuals with the expected attributes. The first "
        "columns are of the edited attribute, in both directions; the others show what was preserved, and in graph "
        "mode what followed by the method's own mechanisms. The oracle is the upper bound for these judges."
    )
    cells_of = lambda method: (estimates_of[method.name][column][label] for column, label in cells)
    return of_methods(results, f"Effectiveness of do({spoken(columns[k])})", headings, cells_of, note)


def of_edit(results: Results, edit: str, estimates_of: Mapping[str, EachSeed]) -> list[Table]:
    """All measures of one edit, its effects, and on phantoms their bias."""
    note = "All measures of this edit alone, as in the tables of all edits."
    tables = [
        table(results, f"{edit}: all measures", tuple(results.measures), estimates_of, note),
        _effects(results, edit),
    ]
    return tables if results.inputs.truths is None else [*tables, _bias(results, edit)]


def _effects(results: Results, edit: str) -> Table:
    inputs, rows = results.inputs, []
    for mode in MODES if inputs.truths is not None else ():
        true = benchmark_measure.true_effects(inputs, mode)
        rows.append((f"true effect, {mode}", mode, *_points(results, edit, [true])))
    note = (
        "Mean effect of the edit on every judged attribute: percentage points of the judges' probability, and years, "
        "relative to the method's own null edit. On phantoms the last rows are the true effects by the structural "
        "equations: of surgical mode for methods of surgical mode, of graph mode for the others."
    )
    cells = lambda method: _points(results, edit, [seed.effects for seed in results.seeds[method.name]])
    return of_methods(results, f"{edit}: effects", _headings(results), cells, note, rows)


def _bias(results: Results, edit: str) -> Table:
    errors = lambda method: [seed.effects - seed.true_effects for seed in results.seeds[method.name]]
    note = "Effect minus the true effect in the method's mode, subject by subject; 0 is agreement."
    cells = lambda method: _points(results, edit, errors(method))
    return of_methods(results, f"{edit}: bias of effects", _headings(results), cells, note)


def _headings(results: Results) -> list[Column]:
    return [Column(name=spoken(name), unit="years" if name == AGE else "points") for name in results.inputs.columns]


def _points(results: Results, edit: str, effects: Sequence[np.ndarray]) -> list[Estimate]:
    """Mean effects of an edit on every judged attribute: percentage points, and years."""
    means = estimates.of_columns(effects, results.inputs, results.of(edit))
    return [estimate if name == AGE else times(estimate, 100.0) for name, estimate in means.items()]
