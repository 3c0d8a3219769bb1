"""Run folders of any program, read back: settings, metrics, training log, edits and images."""

import csv
import dataclasses
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prism_jax.data.image_files import read_image
from prism_jax.report import numbers
from prism_jax.report.document import Table
from prism_jax.stats.intervals import Estimate

CONFIG, RESULT, METRICS, LOG = "config.json", "result.json", "metrics.json", "metrics.jsonl"
OLD_METRICS = ("comparison.json", "axioms.json")  # of benchmarks and axioms before 0.2
MANIFEST, MATRIX = "manifest.parquet", "matrix.csv"
TOGETHER = "all judges"  # the judge shown of an audit's matrix, on the probability scale


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run; parts that its program does not write are empty."""

    name: str
    folder: Path
    program: str  # the class of its configuration, or "prism edit"
    settings: Mapping[str, Any]  # name with dots -> number, text, truth value or None
    tables: tuple[Table, ...] = ()
    log: tuple[Mapping[str, float], ...] = ()  # lines of metrics.jsonl
    edits: tuple[Mapping[str, Any], ...] = ()  # rows of the manifest that have images

    def image(self, edit: Mapping[str, Any], kind: str) -> np.ndarray:
        """The "original", "reconstruction" or "edited" of a row, uint8 [h, w]."""
        return read_image(self.folder, edit[kind])


def read_all(folders: Sequence[Path]) -> tuple[Run, ...]:
    """The runs in `folders`, named by their paths as far as these differ.

    Raises ValueError for a folder that is not a run, that is given twice, or whose files are damaged.
    """
    if not folders:
        raise ValueError("no run is given; name the folders of one or more runs")
    resolved = [folder.resolve() for folder in folders]
    twice = [str(folder) for folder, count in Counter(resolved).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]} is given more than once; name each run once")
    for folder in folders:
        check(folder)
    return tuple(read(folder, name) for folder, name in zip(folders, names(resolved), strict=True))


def check(folder: Path) -> None:
    """Raises ValueError unless `folder` is a run folder."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give the folder of a run")
    if not any((folder / name).is_file() for name in (CONFIG, RESULT)):
        inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        hint = f"did you mean one of {', '.join(inside)} in it?" if inside else "give the folder that a program wrote"
        raise ValueError(f"{folder} is not a run: it has neither {CONFIG} nor {RESULT}; {hint}")


def names(folders: Sequence[Path]) -> list[str]:
    """Each absolute path from below the deepest folder that holds them all."""
    common = Path(os.path.commonpath(folders))
    above = common.parent if common in folders else common
    return [str(folder.relative_to(above)) for folder in folders]


def read(folder: Path, name: str) -> Run:
    """The run in `folder`, which `check` accepted."""
    if not (folder / CONFIG).is_file():
        return _edited_image(folder, name)
    metrics, matrix = _metrics_file(folder), folder / MATRIX
    tables = () if metrics is None else numbers.read(metrics)
    settings = _json(folder / CONFIG)
    return Run(
        name=name,
        folder=folder,
        program=str(settings.get("class", "")).rpartition(":")[2],
        settings=dict(_flat(settings)),
        tables=(*tables, *([_matrix(matrix)] if matrix.is_file() else [])),
        log=_log(folder / LOG),
        edits=_manifest(folder / MANIFEST),
    )


def _metrics_file(folder: Path) -> Path | None:
    """The file of the run's tables; None where there is none."""
    return next((folder / name for name in (METRICS, *OLD_METRICS) if (folder / name).is_file()), None)


def _edited_image(folder: Path, name: str) -> Run:
    """The result folder of `prism edit`: one edit of one image."""
    result = _json(folder / RESULT)
    settings = dict(_flat(result.get("settings", {})))
    kinds = {"original": "original", "reconstruction": "reconstruction", "edited": "edit"}
    edit = {kind: f"{file}.png" for kind, file in kinds.items()}
    return Run(
        name=name,
        folder=folder,
        program="prism edit",
        settings=settings,
        tables=(numbers.of_object(result.get("metrics", {})),),
        edits=(edit | dict(id=settings.get("image"), edit=result.get("edited_prompt")),),
    )


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{file} is not the {file.name} of a run: it is not a JSON object")
    return value


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of the settings under its dotted name; the classes of parts are left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if key != "class":
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    if not isinstance(value, dict | list):
        yield name, value


def _log(file: Path) -> tuple[Mapping[str, float], ...]:
    """Lines of metrics.jsonl; one that a crash left half written does not end in a brace."""
    if not file.is_file():
        return ()
    lines = file.read_text(encoding="utf-8").splitlines()
    try:
        return tuple(json.loads(line) for line in lines if line.endswith("}"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def _matrix(file: Path) -> Table:
    """The effects in an audit's matrix.csv: every edit and attribute, mean of all judges."""
    with file.open(newline="", encoding="utf-8") as lines:
        cells = [cell for cell in csv.DictReader(lines) if cell.get("judge") == TOGETHER]
    try:
        rows = tuple(
            (f"{cell['edit']}: {cell['attribute']}", _effect(cell), cell["verdict"])
            for cell in cells
            if cell["scale"] == "probability"
        )
    except (KeyError, ValueError) as error:
        raise ValueError(f"{file} is not the {MATRIX} of an audit that this version reads: {error}") from error
    columns = ("Edit: attribute", "Effect on the probability; on age, in years", "Verdict")
    return Table(title="Audit", columns=columns, rows=rows)


def _effect(cell: Mapping[str, str]) -> Estimate:
    value, low, high = (float(cell[name] or math.nan) for name in ("effect", "effect_low", "effect_high"))
    return Estimate(value=value, low=low, high=high, count=int(cell["patients"]))


def _manifest(file: Path) -> tuple[Mapping[str, Any], ...]:
    if not file.is_file():
        return ()
    import pyarrow  # here: runs of training have no manifest, and an install for training no need of it
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(file).to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    return tuple(row for row in rows if row.get("edited"))
