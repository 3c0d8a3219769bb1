"""The numbers of single edits, and of single attributes that are set, as tables."""

from collections.abc import Mapping

import numpy as np

from prism_jax.data.captions.phrases import spoken
from prism_jax.evaluation.benchmark import estimates
from prism_jax.evaluation.benchmark import measure as benchmark_measure
from prism_jax.evaluation.benchmark.estimates import Found
from prism_jax.evaluation.benchmark.ground_truth import MODES
from prism_jax.evaluation.benchmark.tables import BY_PATIENT, Results, mode_of, table, times
from prism_jax.evaluation.edited_cohort import AGE
from prism_jax.report import Column, Table
from prism_jax.stats.intervals import Estimate

AGREEMENT = {"accuracy": ("accuracy", "%"), "auroc": ("AUROC", ""), "error": ("mean error", "years")}


def dos(results: Results) -> list[Table]:
    """Effectiveness of each do: of all edits that set an attribute, up and down together."""
    changed = next(iter(results.seeds.values()))[0].changed
    return [_do(results, k, changed[:, k]) for k in range(len(results.shared.columns)) if changed[:, k].any()]


def _do(results: Results, k: int, rows: np.ndarray) -> Table:
    columns = results.shared.columns
    found = {
        row.name: estimates.of_effectiveness(results.seeds[row.name], results.shared, rows, results.config)
        for row in results.rows
    }
    order = [columns[k], *(column for column in columns if column != columns[k])]
    known = [column for column in order if all(column in one for one in found.values())]
    cells = [(column, label) for column in known for label in found[results.rows[0].name][column]]
    headings = (
        Column(name=f"{spoken(column)}, {AGREEMENT[label][0]}", unit=AGREEMENT[label][1]) for column, label in cells
    )
    return Table(
        title=f"Effectiveness of do({spoken(columns[k])})",
        columns=("Row", "Mode", *headings),
        rows=tuple(
            (row.name, mode_of(row), *(found[row.name][c][label] for c, label in cells)) for row in results.rows
        ),
        note=(
            "Do the judges see in the counterfactuals what these are to show? The first columns are of what is set, "
            "edits up and down together; the others say what was kept, and in graph mode what followed, as the row's "
            f"own mechanisms have it. The oracle is what the judges can see at best. {BY_PATIENT}"
        ),
    )


def of_edit(results: Results, edit: str, found: Mapping[str, Found]) -> list[Table]:
    """All measures of one edit, its effects, and on phantoms how far these are from the generator's."""
    note = "All measures of this edit alone, as in the tables of all edits."
    tables = [table(results, f"{edit}: all measures", tuple(results.measures), found, note), _effects(results, edit)]
    return tables if results.shared.truths is None else [*tables, _bias(results, edit)]


def _effects(results: Results, edit: str) -> Table:
    rows, shared, config = results.of(edit), results.shared, results.config
    effects = {row.name: estimates.of_effects(results.seeds[row.name], shared, rows, config) for row in results.rows}
    lines = [(row.name, mode_of(row), *_points(effects[row.name])) for row in results.rows]
    for mode in MODES if shared.truths is not None else ():
        true = benchmark_measure.true_effects(shared.truths, mode, shared.columns)
        lines.append((f"the generator, {mode}", mode, *_points(estimates.of_truth(true, shared, rows, config))))
    note = (
        "What the edit changes of every judged attribute, on average: points of the judges' probability, and years. "
        "Every row is read against its own picture with nothing to change. On phantoms the last rows are what the "
        "equations do: a row of surgical mode should agree with the surgical one, one of graph mode with the other."
    )
    return Table(title=f"{edit}: effects", columns=_headings(results), rows=tuple(lines), note=f"{note} {BY_PATIENT}")


def _bias(results: Results, edit: str) -> Table:
    rows, shared, config = results.of(edit), results.shared, results.config
    bias = {row.name: estimates.of_bias(results.seeds[row.name], shared, rows, config) for row in results.rows}
    lines = tuple((row.name, mode_of(row), *_points(bias[row.name])) for row in results.rows)
    note = f"The same less the generator's effect in the row's mode, subject by subject; 0 is agreement. {BY_PATIENT}"
    return Table(title=f"{edit}: effects less the generator's", columns=_headings(results), rows=lines, note=note)


def _headings(results: Results) -> tuple[str | Column, ...]:
    found = (Column(name=spoken(n), unit="years" if n == AGE else "points") for n in results.shared.columns)
    return ("Row", "Mode", *found)


def _points(found: Mapping[str, Estimate]) -> list[Estimate]:
    return [estimate if name == AGE else times(estimate, 100.0) for name, estimate in found.items()]
