"""Runs side by side on one page: settings that differ, metrics, images of the same subjects, training curves."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from prism_jax.report.document import Cell, Check, Column, Curve, Report, Table, logged
from prism_jax.report.images import Sample, Strip
from prism_jax.report.runs import Run
from prism_jax.report.tables import number
from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap

EVERY_RUN_ITS_OWN = ("run", "title", "out")  # settings that do not influence results
PAIRED = {
    "psnr": ("Reconstruction PSNR", "dB"),
    "mean_change": ("Mean change by the edit", "grey levels"),
}  # of the manifest
Key = tuple[str, str]  # image and edit


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparisonConfig:
    """Options of the comparison page."""

    shown: int = 4
    """Number of subjects per edit whose images are shown: the first that all runs have."""
    resamples: int = 2000
    """Bootstrap resamples behind the intervals of paired differences."""


def compare(runs: Sequence[Run], config: ComparisonConfig) -> Report:
    """The page."""
    tables = (settings_table(runs), numbers_table(runs), paired_table(runs, config))
    return Report(
        title="Runs side by side" if len(runs) > 1 else f"Run {runs[0].name}",
        summary="; ".join(f"{run.name} ({run.program or 'unknown program'})" for run in runs) + ".",
        look_first=_look_first(runs),
        strips=strips(runs, config.shown),
        curves=tuple(curves(runs)),
        tables=tuple(table for table in tables if table is not None),
        settings={run.name: dict(run.settings) for run in runs},
    )


def _look_first(runs: Sequence[Run]) -> tuple[str, ...]:
    sentences = []
    if len(runs) > 1:
        sentences.append(
            "Overlapping intervals of two runs do not show that the runs are equal; where runs edited the same "
            "subjects, the table of paired differences does the comparison."
        )
    if any(run.edits for run in runs):
        sentences.append("The subjects shown are the first that all runs have; none was selected by its result.")
    return tuple(sentences)


def settings_table(runs: Sequence[Run]) -> Table | None:
    """The settings in which runs differ, among those of two or more runs, or of one of several runs of a program."""
    if len(runs) < 2:
        return None
    names = dict.fromkeys(name for run in runs for name in run.settings)
    values = {name: [_setting(run, name) for run in runs] for name in names if name not in EVERY_RUN_ITS_OWN}
    differing = {name: row for name, row in values.items() if _differ(runs, row)}
    rows = tuple((name, *row) for name, row in differing.items()) or (("none", *[None] * len(runs)),)
    note = f"{len(values) - len(differing)} others are equal, or exist in one program only; see Settings for all."
    columns = ("Setting", *(run.name for run in runs))
    return Table(title="Settings that differ", columns=columns, rows=rows, note=note)


def _differ(runs: Sequence[Run], values: Sequence[str | None]) -> bool:
    if len({value for value in values if value is not None}) > 1:
        return True
    by_program = zip((run.program for run in runs), values, strict=True)
    return len(set(by_program)) > len({run.program for run in runs})


def _setting(run: Run, name: str) -> str | None:
    """As text; None where a run has no such setting."""
    return str(run.settings[name]) if name in run.settings else None


def numbers_table(runs: Sequence[Run]) -> Table | None:
    """Every metric of every run in one table, one column per run; None where there are none."""
    measures = [dict(_measures(run)) for run in runs]
    keys = list(dict.fromkeys(key for of_run in measures for key in of_run))
    rows = tuple(
        (f"{name}, {unit}" if unit else name, of, *(of_run.get(key) for of_run in measures))
        for key in keys
        for name, of, unit in [key[1:]]
    )
    note = "Intervals and counts as reported by each run."
    columns = ("Measure", "Of", *(run.name for run in runs))
    return Table(title="Numbers", columns=columns, rows=rows, note=note) if rows else None


def _measures(run: Run) -> Iterator[tuple[tuple[str, str, str, str], Cell]]:
    """(table, column, row, unit) and the cell, in percent where the unit is that."""
    for table in run.tables:
        columns = [Column(name=column) if isinstance(column, str) else column for column in table.columns]
        for first, *cells in table.rows:
            for column, cell in zip(columns[1:], cells, strict=True):
                if cell is not None:
                    yield (table.title, column.name, str(first), column.unit), _in_unit(cell, column.unit)


def _in_unit(cell: Cell, unit: str) -> Cell:
    """Under this table's columns, whose cells have different units, a fraction is multiplied here."""
    if unit != "%" or isinstance(cell, str):
        return cell
    if isinstance(cell, Check):
        bounds = {
            name: bound and 100 * bound for name, bound in (("at_least", cell.at_least), ("at_most", cell.at_most))
        }
        return Check(estimate=_in_unit(cell.estimate, unit), **bounds)
    if isinstance(cell, Estimate):
        return Estimate(value=100 * cell.value, low=100 * cell.low, high=100 * cell.high, count=cell.count)
    return 100 * cell


def paired_table(runs: Sequence[Run], config: ComparisonConfig) -> Table | None:
    """Differences from the first run over the edits that both have; None if there are none."""
    first, *others = runs
    before = _by_key(first)
    rows = []
    for edit in dict.fromkeys(key[1] for key in before):
        for field, (name, unit) in PAIRED.items():
            cells = [_paired(before, _by_key(run), edit, field, config) for run in others]
            if any(cell is not None and cell.count for cell in cells):
                rows.append((f"{name}, {unit}", edit, *cells))
    columns = ("Measure", "Of", *(f"{run.name} − {first.name}" for run in others))
    note = f"Same image and edit in both runs: value minus that of {first.name}. 95 % intervals, bootstrap by patient."
    return Table(title="Same subjects, paired", columns=columns, rows=tuple(rows), note=note) if rows else None


def _paired(
    before: Mapping[Key, Any], after: Mapping[Key, Any], edit: str, field: str, config: ComparisonConfig
) -> Estimate:
    """The mean difference of a column of the manifest, with an interval over patients."""
    both = [(row, after[key]) for key, row in before.items() if key[1] == edit and key in after]
    pairs = [(a, b) for a, b in both if a.get(field) is not None and b.get(field) is not None]
    change = np.array([b[field] - a[field] for a, b in pairs], np.float64)
    patients = np.array([str(a.get("patient") or a["id"]) for a, _ in pairs])
    return bootstrap(np.mean, change, subjects=patients, config=BootstrapConfig(resamples=config.resamples))


def _by_key(run: Run) -> dict[Key, Mapping[str, Any]]:
    return {(row["id"], row["edit"]): row for row in run.edits}


def strips(runs: Sequence[Run], shown: int) -> tuple[Strip, ...]:
    """The first subjects of each edit that all runs with images have: the original, then the edit of each run."""
    edited = [run for run in runs if run.edits]
    by_key = [_by_key(run) for run in edited]
    shared = [key for key in (by_key[0] if by_key else ()) if all(key in rows for rows in by_key)]
    by_edit = {edit: [key for key in shared if key[1] == edit][:shown] for edit in dict.fromkeys(k[1] for k in shared)}
    return tuple(_strip(key, edited, [rows[key] for rows in by_key]) for keys in by_edit.values() for key in keys)


def _strip(key: Key, runs: Sequence[Run], rows: Sequence[Mapping[str, Any]]) -> Strip:
    image, edit = key
    images = [Sample(image=runs[0].image(rows[0], "original"), caption="Original")]
    images += [Sample(image=run.image(row, "edited"), caption=run.name) for run, row in zip(runs, rows, strict=True)]
    metrics = {
        f"{name} of {run.name}, {unit}": number(row[field])
        for field, (name, unit) in PAIRED.items()
        for run, row in zip(runs, rows, strict=True)
        if row.get(field) is not None
    }
    return Strip(title=str(image), images=tuple(images), group=str(edit), metrics=metrics)


def curves(runs: Sequence[Run]) -> Iterator[Curve]:
    """A chart of every logged quantity, losses first; with several runs, of those that at least two logged."""
    keys_of = {run.name: {key for record in run.log for key in record} - {"step"} for run in runs}
    least = 2 if sum(map(bool, keys_of.values())) > 1 else 1
    for key in sorted(set().union(*keys_of.values()), key=lambda key: ("loss" not in key, key)):
        lines = {run.name: logged(run.log, key) for run in runs if key in keys_of[run.name]}
        if len(lines) >= least:
            yield Curve(title=key.replace("_", " "), lines=lines, y_label=key)
