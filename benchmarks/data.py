"""Images per second of the data pipeline, beside torch.utils.data doing the same work in the same run.

Example, with the interpreter that has PyTorch and this package:

    python -m benchmarks.data --peer-python .venv/bin/python --out runs/benchmark/data.json
"""

import csv
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from benchmarks.tables import markdown
from prism_jax.data.sources import build
from prism_jax.data.sources.folder import FolderConfig
from prism_jax.data.sources.ingest import IngestConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Synthetic X-rays are written as JPEG files, built, and read by both; every setting `repeats` times, in turn."""

    images: int = 512
    size: int = 512
    batch_size: int = 16
    warm_up: int = 8
    """Batches before the clock starts."""
    batches: int = 60
    repeats: int = 3
    threads: tuple[int, ...] = (1, 2)
    """Of ours without worker processes; with them each has one."""
    workers: tuple[int, ...] = (1, 2)
    """Processes that prepare images, of both."""
    peer_python: str | None = None
    """Interpreter that has PyTorch; without it only ours is measured."""
    out: Path | None = None
    """Keeps all measurements here, JSON."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row of the table."""

    program: str
    workers: int
    threads: int


def main(options: Options) -> None:
    rows = settings(options)
    measured: dict[Setting, list[dict[str, float]]] = {row: [] for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.images, options.size)
        for repeat in range(options.repeats):
            for row in rows:
                measured[row].append(measure(row, Path(folder), options))
                print(f"{repeat + 1} of {options.repeats}: {row} {measured[row][-1]}", file=sys.stderr, flush=True)
    print(table(measured))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        kept = [dataclasses.asdict(row) | {"measured": results} for row, results in measured.items()]
        options.out.write_text(json.dumps(kept, indent=2) + "\n")


def settings(options: Options) -> list[Setting]:
    """Measurements of our pipeline, and of the peer's if there is one."""
    rows = [Setting("prism_jax", 0, threads) for threads in options.threads]
    rows += [Setting("prism_jax", workers, 1) for workers in options.workers]
    if options.peer_python:
        rows += [Setting("torch", workers, 1) for workers in (0, *options.workers)]
    return rows


def write(folder: Path, count: int, size: int) -> None:
    """JPEG files in `files`, and the data set made of them in `built`."""
    draw = np.random.default_rng(0)
    (folder / "files").mkdir()
    with open(folder / "files" / "metadata.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "patient"))
        for i in range(count):
            _image(draw, size).save(folder / "files" / f"{i:05d}.jpg", quality=92)
            table.writerow((f"{i:05d}.jpg", str(i)))
    columns = dict.fromkeys(("sex_column", "age_column", "view_column", "findings_column"))
    config = FolderConfig(ingest=IngestConfig(fractions=(1.0, 0.0, 0.0)), **columns)
    build.build("folder", folder / "files", folder / "built", config)


def _image(draw: np.random.Generator, side: int) -> Image.Image:
    """Smooth shapes with noise as strong as a detector's: files as large as those of X-rays."""
    coarse = Image.fromarray(draw.uniform(30, 220, (8, 8)).astype(np.float32))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(smooth + draw.normal(0, 3, (side, side)), 0, 255).astype(np.uint8))


def measure(row: Setting, folder: Path, options: Options) -> dict[str, float]:
    """Images per second and CPU milliseconds per image, by a process of its own."""
    python = options.peer_python if row.program == "torch" else sys.executable
    arguments = {**dataclasses.asdict(row), "folder": str(folder), "size": options.size}
    arguments |= {name: getattr(options, name) for name in ("batch_size", "warm_up", "batches")}
    command = [str(python), "-m", "benchmarks.data_side", json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1], check=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(measured: dict[Setting, Sequence[dict[str, float]]]) -> str:
    """Medians, minima and maxima."""
    header = ["program", "worker processes", "threads each", "images/s", "least", "most", "CPU ms/image"]
    body = []
    for row, results in measured.items():
        rates = [result["per_second"] for result in results]
        busy = statistics.median(result["cpu_ms"] for result in results)
        numbers = [f"{rate:.0f}" for rate in (statistics.median(rates), min(rates), max(rates))]
        body.append([row.program, f"{row.workers}", f"{row.threads}", *numbers, f"{busy:.2f}"])
    return markdown(header, body)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
