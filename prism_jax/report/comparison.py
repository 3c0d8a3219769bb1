"""Runs side by side on one page: settings that differ, numbers, the same subjects' pictures, training curves."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from prism_jax.report.document import Cell, Check, Column, Overlay, Report, Table
from prism_jax.report.pictures import Sample, Strip
from prism_jax.report.runs import Run
from prism_jax.report.tables import number
from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap

EVERY_RUN_ITS_OWN = ("run", "title", "out")  # settings that say nothing about results
PAIRED = {"psnr": ("Reconstruction, PSNR", "dB"), "mean_change": ("Change by the edit", "levels")}  # of the manifest
Key = tuple[str, str]  # image and edit


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparisonConfig:
    """What the page shows of each run."""

    shown: int = 4
    """Subjects of each edit in the pictures: the first that the runs share."""
    resamples: int = 2000
    """Of the bootstrap behind intervals of paired differences."""


def compare(runs: Sequence[Run], config: ComparisonConfig, versions: Mapping[str, str]) -> Report:
    """The page."""
    tables = (settings_table(runs), numbers_table(runs), paired_table(runs, config))
    return Report(
        title="Runs side by side" if len(runs) > 1 else f"Run {runs[0].name}",
        summary=_summary(runs),
        strips=strips(runs, config.shown),
        curves=tuple(overlays(runs)),
        tables=tuple(table for table in tables if table is not None),
        settings={run.name: dict(run.settings) for run in runs},
        versions=versions,
        are_pictures_last=True,
    )


def _summary(runs: Sequence[Run]) -> str:
    said = [f"{run.name} ({run.program or 'unknown program'})" for run in runs]
    shared = (
        "Subjects in the pictures are the first that the runs share, not chosen. " if any(r.edits for r in runs) else ""
    )
    return (
        f"{'; '.join(said)}. {shared}Intervals are those of each run: two that overlap do not show that runs are "
        "equal; where runs edited the same subjects, differences are paired."
    )


def settings_table(runs: Sequence[Run]) -> Table | None:
    """The settings in which runs differ, of those that two or more have, or one of several of its program."""
    if len(runs) < 2:
        return None
    names = dict.fromkeys(name for run in runs for name in run.settings)
    values = {name: [_setting(run, name) for run in runs] for name in names if name not in EVERY_RUN_ITS_OWN}
    differing = {name: found for name, found in values.items() if _differ(runs, found)}
    rows = tuple((name, *found) for name, found in differing.items()) or (("none", *[None] * len(runs)),)
    note = f"{len(values) - len(differing)} others are the same, or of one program only; all are under Settings below."
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
    """Every number of every run in one table, a column a run; None where there are none."""
    found = [dict(_measures(run)) for run in runs]
    keys = list(dict.fromkeys(key for measures in found for key in measures))
    rows = tuple(
        (f"{name}, {unit}" if unit else name, of, *(m.get(key) for m in found))
        for key in keys
        for name, of, unit in [key[1:]]
    )
    note = "Intervals and counts are those that each run reports of itself."
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
    """Under this table's columns, whose cells have different units, a share is multiplied here."""
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
    """Differences to the first run over the edits that both made; None where runs share none."""
    first, *others = runs
    before = _by_key(first)
    rows = []
    for edit in dict.fromkeys(key[1] for key in before):
        for field, (name, unit) in PAIRED.items():
            cells = [_paired(before, _by_key(run), edit, field, config) for run in others]
            if any(cell is not None and cell.count for cell in cells):
                rows.append((f"{name}, {unit}", edit, *cells))
    columns = ("Measure", "Of", *(f"{run.name} − {first.name}" for run in others))
    note = f"Of the same images, each less its own in {first.name}. 95 % intervals, bootstrap by patient."
    return Table(title="Same subjects, paired", columns=columns, rows=tuple(rows), note=note) if rows else None


def _paired(
    before: Mapping[Key, Any], after: Mapping[Key, Any], edit: str, field: str, config: ComparisonConfig
) -> Estimate:
    """The mean difference of a manifest's number, patients resampled."""
    both = [(row, after[key]) for key, row in before.items() if key[1] == edit and key in after]
    known = [(a, b) for a, b in both if a.get(field) is not None and b.get(field) is not None]
    change = np.array([b[field] - a[field] for a, b in known], np.float64)
    patients = np.array([str(a.get("patient") or a["id"]) for a, _ in known])
    return bootstrap(np.mean, change, subjects=patients, config=BootstrapConfig(resamples=config.resamples))


def _by_key(run: Run) -> dict[Key, Mapping[str, Any]]:
    return {(row["id"], row["edit"]): row for row in run.edits}


def strips(runs: Sequence[Run], shown: int) -> tuple[Strip, ...]:
    """The first subjects of each edit that all runs with pictures made: the original, then what each run made."""
    edited = [run for run in runs if run.edits]
    made = [_by_key(run) for run in edited]
    shared = [key for key in (made[0] if made else ()) if all(key in rows for rows in made)]
    by_edit = {edit: [key for key in shared if key[1] == edit][:shown] for edit in dict.fromkeys(k[1] for k in shared)}
    return tuple(_strip(key, edited, [rows[key] for rows in made]) for keys in by_edit.values() for key in keys)


def _strip(key: Key, runs: Sequence[Run], rows: Sequence[Mapping[str, Any]]) -> Strip:
    image, edit = key
    pictures = [Sample(image=runs[0].picture(rows[0], "original"), caption="Original")]
    pictures += [
        Sample(image=run.picture(row, "edited"), caption=run.name) for run, row in zip(runs, rows, strict=True)
    ]
    told = {
        f"{name} of {run.name}, {unit}": number(row[field])
        for field, (name, unit) in PAIRED.items()
        for run, row in zip(runs, rows, strict=True)
        if row.get(field) is not None
    }
    return Strip(title=str(image), pictures=tuple(pictures), group=str(edit), metrics=told)


def overlays(runs: Sequence[Run]) -> Iterator[Overlay]:
    """A chart of every quantity that runs logged, losses first; several runs: of those that at least two logged."""
    logged = [{key for record in run.log for key in record} - {"step"} for run in runs]
    least = 2 if sum(bool(keys) for keys in logged) > 1 else 1
    keys = sorted({key for keys in logged for key in keys}, key=lambda key: ("loss" not in key, key))
    for key in keys:
        if sum(key in keys for keys in logged) >= least:
            lines = {run.name: _line(run, key) for run, keys in zip(runs, logged, strict=True) if key in keys}
            yield Overlay(title=key.replace("_", " "), lines=lines, y_label=key)


def _line(run: Run, key: str) -> tuple[np.ndarray, np.ndarray]:
    records = [record for record in run.log if key in record and "step" in record]
    return np.array([record["step"] for record in records]), np.array([record[key] for record in records], np.float64)
