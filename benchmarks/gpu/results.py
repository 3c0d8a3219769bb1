"""The results of the GPU benchmark: one JSON that its processes write into as they measure, and its tables."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmarks import tables
from benchmarks.tables import Row
from prism_jax.atomic import atomic_write

FILE, TABLES, LOG = "results.json", "tables.md", "log.txt"
LATE = "compiled within the stage, s"
PARTS = {"editing": ("invert", "edit")}  # of a row; of the others one, the step


def read(out: Path) -> dict[str, Any]:
    """Everything that has been measured."""
    file = out / FILE
    return json.loads(file.read_text()) if file.is_file() else {}


def merge(out: Path, found: Mapping[str, Any]) -> None:
    """Adds `found` to the results, dictionaries within dictionaries too; the file is whole at every moment."""
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / f".{FILE}.lock"):
        merged = _merged(read(out), found)
        with atomic_write(out / FILE) as file:
            file.write_text(json.dumps(merged, indent=2) + "\n")


def add_row(out: Path, section: str, row: Row, **facts: Any) -> None:
    """Adds a row that has calls, with its `facts`. A second one of the same name takes its place."""
    if not row.calls:
        return
    name = ", ".join((row.setting, f"batch {row.batch}", row.program, *map(str, facts.values())))
    merge(out, {"rows": {section: {name: dataclasses.asdict(row) | facts}}})


def text(results: Mapping[str, Any]) -> str:
    """The tables as Markdown, those of what there is."""
    found = results.get("versions", {})
    lines = [f"{found.get('devices', 'no device')}, " + ", ".join(f"{k} {found[k]}" for k in found if k != "devices")]
    for section, rows in results.get("rows", {}).items():
        lines += [f"## {section}", *_speeds(results, section, [_row(row) for row in rows.values()])]
    for title, header, body in _tables(results):
        if body:
            lines += [f"## {title}", tables.markdown(header, body)]
    return "\n\n".join(lines) + "\n"


def _speeds(results: Mapping[str, Any], section: str, rows: list[Row]) -> Iterator[str]:
    operations = {row.setting: tuple(results.get("operations", {}).get(row.setting, ())) for row in rows}
    parts = PARTS.get(section, ("step",))
    nothing = (float("nan"),) * len(parts)
    peak = results.get("matrix peak", {}).get(results["options"]["dtype"], float("nan"))
    yield "Programs come from the cache: the seconds below are those of reading them, and PyTorch's of compiling."
    yield tables.speeds(rows, parts, {name: counts or nothing for name, counts in operations.items()}, peak)
    if said := tables.speedup(rows):
        yield said


def _tables(results: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...], list[list[str]]]]:
    stages = results.get("stages", {}).items()
    body = [[name, row["status"], f"{row.get('seconds', 0):.0f}", row.get("reason", "")] for name, row in stages]
    yield "Stages", ("stage", "status", "seconds", "reason"), body
    peaks = results.get("matrix peak", {}).items()
    yield "Matrix peak", ("dtype", "TFLOP/s"), [[name, f"{peak / 1e12:.4g}"] for name, peak in peaks]
    found = results.get("attention", {}).items()
    yield "Gradients of attention in bfloat16, from float32's", ("layer", "difference"), [list(row) for row in found]
    header = ("program", "compile s", "arguments GiB", "temporary GiB", "peak GiB", "remark")
    keys = ("arguments", "temporary", "peak")
    sizes = lambda row: [f"{row[key] / 2**30:.2f}" if row.get(key) else "" for key in keys]
    body = [
        [name, f"{row.get('compile', 0):.1f}", *sizes(row), row.get("remark", "")]
        for name, row in (results.get("programs") or {}).items()
    ]
    yield "Programs, compiled beside each other", header, body
    yield from _parity_tables(results)
    yield "Cohort, from JPEG to PNG", ("measured", "value"), [[k, f"{v}"] for k, v in results.get("cohort", {}).items()]
    body = [[name, ", ".join(map(str, late))] for name, late in results.get(LATE, {}).items() if late]
    yield "Programs that the cache lacked", ("stage", "compile s"), body
    peaks = results.get("peak memory", {}).items()
    yield "Peak memory of a stage's process", ("stage", "GiB"), [[k, f"{v / 2**30:.1f}"] for k, v in peaks]
    skipped = results.get("skipped", {}).items()
    yield "Left out", ("what", "reason"), [[name, reason] for name, reason in skipped]


def _parity_tables(results: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...], list[list[str]]]]:
    found = results.get("parity", {})
    names = list(dict.fromkeys(name for row in found.values() for name in row))
    body = [[name, *(f"{found[kind].get(name, float('nan')):.2g}" for kind in found)] for name in names]
    yield "Relative difference from float32 on the CPU", ("quantity", *found), body
    agreed = [[name, f"{value:.2g}"] for name, value in results.get("agreement", {}).items()]
    yield "Relative difference of PyTorch from ours", ("quantity", "difference"), agreed


def _row(row: Mapping[str, Any]) -> Row:
    fields = {field.name: row[field.name] for field in dataclasses.fields(Row)}
    return Row(**fields | {"calls": tuple(map(tuple, row["calls"]))})


def _merged(old: Any, new: Any) -> Any:
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
