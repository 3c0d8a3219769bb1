"""Tables of data sets: CSV or JSON lines, gzipped or not."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

Parsed = TypeVar("Parsed")
Cells = dict[str, str]  # column -> cell
SUFFIXES = (".csv", ".jsonl")  # each may be followed by .gz


def read(file: Path, *, separator: str = ";") -> list[Cells]:
    """The rows of a `.csv` or `.jsonl` file, also with `.gz`; UTF-8, a byte order mark is skipped.

    All rows have all columns, in their order; an empty cell is "".

    JSON lines hold one object each: a list becomes its items joined by `separator`, true and false become "yes"
    and "no", null and a missing key an empty cell.

    Raises:
      ValueError: another kind of file, broken content, a column twice, or no rows.
    """
    name = file.name.removesuffix(".gz")
    if not name.endswith(SUFFIXES):
        raise ValueError(f"{file} is no table; use {' or '.join(SUFFIXES)}, or these with .gz")
    opened = gzip.open if file.name.endswith(".gz") else open
    try:
        with opened(file, "rt", encoding="utf-8-sig", newline="") as lines:
            rows = _csv(lines) if name.endswith(".csv") else _json_lines(lines, separator)
    except (csv.Error, UnicodeDecodeError, EOFError, OSError) as error:
        raise ValueError(f"{file} cannot be read as a table in UTF-8: {error}") from None
    except ValueError as error:
        raise ValueError(f"{file}, {error}") from None
    if not rows:
        raise ValueError(f"{file} has no rows")
    return rows


def find(source: str | Path, *names: str) -> Path:
    """The first of the files `names`, each perhaps with .gz, in the folder `source`; a ValueError lists its tables."""
    if not Path(source).is_dir():
        raise ValueError(f"source folder {source} does not exist")
    for name in names:
        for file in (Path(source) / name, Path(source) / f"{name}.gz"):
            if file.is_file():
                return file
    tables = sorted(other.name for other in Path(source).iterdir() if other.name.removesuffix(".gz").endswith(SUFFIXES))
    raise ValueError(f"no table {Path(source) / names[0]}; the folder has {', '.join(tables) or 'no table'}")


def load(source: str | Path, names: str | Sequence[str], columns: Sequence[str]) -> tuple[Path, list[Cells]]:
    """(file, rows) of the first of `names` in the folder `source`.

    Raises:
      ValueError: the file is missing or broken, or lacks one of `columns`.
    """
    file = find(source, *([names] if isinstance(names, str) else names))
    rows = read(file)
    if missing := [name for name in columns if name not in rows[0]]:
        raise ValueError(f"{file} has no column {', '.join(missing)}; it has {', '.join(rows[0])}")
    return file, rows


def number(column: str, cell: str) -> float:
    """The number in a cell; ValueError for other text."""
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{column} {cell!r} is not a number") from None


def choice(column: str, cell: str, values: Mapping[str, str | None]) -> str | None:
    """The value of a cell in `values`; ValueError for a cell that it does not have."""
    if cell not in values:
        raise ValueError(f"{column} {cell!r} is none of {', '.join(name or 'blank' for name in values)}")
    return values[cell]


def parse_rows(file: Path, rows: Sequence[Cells], parse: Callable[[int, Cells], Parsed]) -> list[Parsed]:
    """`parse(index, cells)` of every row; the row number, as a spreadsheet counts, is added to its ValueError."""
    parsed = []
    for index, cells in enumerate(rows):
        try:
            parsed.append(parse(index, cells))
        except ValueError as error:
            raise ValueError(f"{file.name}, row {index + 2} (the header is row 1): {error}") from None
    return parsed


def _csv(lines: Iterator[str]) -> list[Cells]:
    reader = csv.DictReader(lines, restval="")  # skips blank lines
    columns = reader.fieldnames or []
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise ValueError(f"it has the column {', '.join(twice)} twice; rename one of them")
    return [{column: row[column].strip() for column in columns} for row in reader]


def _json_lines(lines: Iterator[str], separator: str) -> list[Cells]:
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                record = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise ValueError(f"line {number} is not JSON: {error}") from None
            if not isinstance(record, dict):
                raise ValueError(f"line {number} is not a JSON object")
            rows.append({key: _cell(value, separator, number) for key, value in record.items()})
    columns = dict.fromkeys((key for row in rows for key in row), "")
    return [columns | row for row in rows]


def _cell(value: Any, separator: str, number: int) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        cells = [_cell(item, separator, number) for item in value]
        if any(separator in cell for cell in cells):
            raise ValueError(f"line {number}: {value!r} holds the separator {separator!r}; choose another one")
        return separator.join(cells)
    if isinstance(value, dict):
        raise ValueError(f"line {number}: {value!r} is an object; use text, a number, true, false, null or a list")
    return str(value).strip()
