"""Tables of a report as files: `metrics.json`, which reads back equal, and `metrics.csv`, one line per number."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prism_jax.atomic import atomic_write
from prism_jax.report.document import Cell, Check, Column, Table
from prism_jax.stats.intervals import Estimate

COLUMNS = ("table", "row", "column", "unit", "value", "low", "high", "count", "at_least", "at_most", "is_met", "text")


def write(tables: Sequence[Table], file: Path) -> None:
    """Writes `file` (JSON) and the same as CSV beside it, each atomically.

    Numbers that are not finite are null. Fractions stay fractions, where the page shows percent.
    """
    listed = json.dumps(_finite([dataclasses.asdict(table) for table in tables]), indent=2, allow_nan=False) + "\n"
    lines = io.StringIO()
    writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(record for table in tables for record in records(table))
    for path, text in ((file, listed), (file.with_suffix(".csv"), lines.getvalue())):
        with atomic_write(path) as partial:
            partial.write_text(text, encoding="utf-8")


def records(table: Table) -> Iterator[dict[str, Any]]:
    """A record of COLUMNS for every cell that is not empty, but for the first of a row, which names it."""
    names = [column if isinstance(column, str) else column.name for column in table.columns]
    units = ["" if isinstance(column, str) else column.unit for column in table.columns]
    for first, *cells in table.rows:
        for name, unit, cell in zip(names[1:], units[1:], cells, strict=True):
            if cell is not None:
                yield dict(table=table.title, row=str(first), column=name, unit=unit) | _finite(_fields(cell))


def _fields(cell: Cell) -> dict[str, Any]:
    if isinstance(cell, Check):
        return _fields(cell.estimate) | dict(at_least=cell.at_least, at_most=cell.at_most, is_met=cell.is_met)
    if isinstance(cell, Estimate):
        return dataclasses.asdict(cell)
    return {"text": cell} if isinstance(cell, str) else {"value": cell}


def read(file: Path) -> tuple[Table, ...]:
    """The tables in `file`: as `write` leaves them, or a JSON object of numbers and estimates, however nested.

    Raises ValueError for anything else.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        return tuple(map(_table, value)) if isinstance(value, list) else (of_object(value),)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{file} holds no tables that this version reads: {error}") from error


def _table(value: Mapping[str, Any]) -> Table:
    return Table(
        title=value["title"],
        columns=tuple(column if isinstance(column, str) else Column(**column) for column in value["columns"]),
        rows=tuple(tuple(map(_cell, row)) for row in value["rows"]),
        note=value.get("note", ""),
    )


def of_object(value: Mapping[str, Any]) -> Table:
    """The numbers and estimates of a JSON object, however nested, as a table."""
    rows = tuple((name, _cell(item)) for name, item in _flat(value))
    return Table(title="Metrics", columns=("Measure", "Value"), rows=rows)


def _flat(mapping: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """Names with dots, and numbers, texts and estimates."""
    for name, value in mapping.items():
        if isinstance(value, Mapping) and not _is_estimate(value):
            yield from _flat(value, f"{start}{name}.")
        elif not isinstance(value, list | bool):
            yield f"{start}{name}", value


def _is_estimate(value: Mapping[str, Any]) -> bool:
    return {"value", "low", "high", "count"} <= value.keys() or "estimate" in value


def _cell(value: Any) -> Cell:
    if not isinstance(value, Mapping):
        return value
    if "estimate" in value:
        bounds = {name: value.get(name) for name in ("at_least", "at_most")}
        return Check(estimate=_cell(value["estimate"]), **bounds)
    number = lambda name: math.nan if value[name] is None else value[name]
    return Estimate(value=number("value"), low=number("low"), high=number("high"), count=value["count"])


def _finite(value: Any) -> Any:
    """The same with None for numbers that JSON and CSV cannot hold."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "item"):  # of NumPy
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
