"""What a run tells while it goes on: `metrics.jsonl`, TensorBoard, and the batches that were left out."""

import contextlib
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import struct

METRICS_FILE = "metrics.jsonl"
SKIPPED_FILE = "skipped.jsonl"


@struct.dataclass
class Mean:
    """A mean over something that a step has more or less of, and may have nothing of."""

    total: jax.Array
    count: jax.Array


Metrics = Mapping[str, jax.Array | Mean]


class Log:
    """One line of metrics.jsonl per `every` steps, with the means of their metrics, fetched one step late.

    A class because it holds the metrics of the step that may still be computing.
    """

    def __init__(self, run: Path, start: int, every: int, *, patience: int, peak: float | None, board: bool):
        self._run, self._every, self._patience = run, every, patience
        self._peak = peak
        self._pending, self._window, self._images, self._in_a_row = None, [], 0, 0
        self._clock = time.perf_counter()
        self._is_writer = jax.process_index() == 0
        self.latest: dict[str, str] = {}
        run.mkdir(parents=True, exist_ok=True)
        for file in (run / METRICS_FILE, self._skipped) if self._is_writer else (self._skipped,):
            _cut(file, start)
        self._board = _board(run, start) if board and self._is_writer else None

    @property
    def _skipped(self) -> Path:
        # Every process notes its own part of a batch.
        index = jax.process_index()
        return self._run / (SKIPPED_FILE if index == 0 else SKIPPED_FILE.replace(".", f".{index}."))

    def add(self, step: int, metrics: Metrics, ids: np.ndarray) -> None:
        """Takes the metrics of `step`, which may still be computing, and fetches those of the step before."""
        previous, self._pending = self._pending, (step, metrics, ids)
        self._images += len(ids) * jax.process_count()
        self._fetch(previous)

    def flush(self) -> None:
        """Fetches what is pending."""
        previous, self._pending = self._pending, None
        self._fetch(previous)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes a line of its own."""
        if not metrics or not self._is_writer:
            return
        with (self._run / METRICS_FILE).open("a") as file:
            file.write(json.dumps({"step": step, **{k: float(v) for k, v in metrics.items()}}) + "\n")
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(name, float(value), step)

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Shows uint8 `pixels` [h, w, 3], which are on disk too, in TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Writes what TensorBoard has not written yet."""
        if self._board is not None:
            self._board.close()

    def _fetch(self, pending: tuple[int, Metrics, np.ndarray] | None) -> None:
        if pending is None:
            return
        step, metrics, ids = pending
        values = jax.device_get(dict(metrics))
        if values.pop("skipped", 0):
            self._skip(step, values, ids)
        else:
            self._in_a_row = 0
            self._window.append(values)
        if step % self._every == 0 and self._window:
            self._write_window(step)

    def _skip(self, step: int, values: Mapping[str, Any], ids: np.ndarray) -> None:
        self._in_a_row += 1
        seen = {name: float(values[name]) for name in ("loss", "grad_norm")}
        with self._skipped.open("a") as file:
            file.write(json.dumps({"step": step, **{k: repr(v) for k, v in seen.items()}, "ids": ids.tolist()}) + "\n")
        if self._in_a_row >= self._patience:
            raise FloatingPointError(
                f"{self._in_a_row} batches in a row were left out, the last at step {step} (loss {seen['loss']:.4g}, "
                f"gradient norm {seen['grad_norm']:.4g}); their ids are in {self._skipped}: look at these images, "
                "lower the learning rate (--optimizer.peak) or compute in float32, then run the same command to go on"
            )

    def _write_window(self, step: int) -> None:
        means = {name: _mean([values[name] for values in self._window]) for name in self._window[0]}
        means = {name: value for name, value in means.items() if math.isfinite(value)}
        seconds = max(time.perf_counter() - self._clock, 1e-9)
        means |= {"steps_per_second": len(self._window) / seconds, "images_per_second": self._images / seconds}
        if self._peak is not None:
            means["share_of_peak"] = means["steps_per_second"] / self._peak
        self._clock, self._window, self._images = time.perf_counter(), [], 0
        self.write(step, means)
        self.latest = {name: f"{means[name]:.4g}" for name in ("loss", "psnr") if name in means}


def _mean(values: list[Any]) -> float:
    """NaN where there was nothing of it."""
    if not isinstance(values[0], Mean):
        return float(np.mean(values))
    count = float(sum(value.count for value in values))
    return float(sum(value.total for value in values)) / count if count else math.nan


def _cut(path: Path, start: int) -> None:
    """Drops the lines after step `start`: they belong to steps that are made again."""
    if not path.exists():
        return
    # A line that a crash left half written does not end in a brace.
    lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
    kept = [line for line in lines if json.loads(line)["step"] <= start]
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(line + "\n" for line in kept))
    os.replace(partial, path)


def _board(run: Path, start: int) -> Any:
    """TensorBoard's files in `run/tensorboard`; those of steps after `start` are hidden there."""
    with contextlib.suppress(ImportError):
        from tensorboardX import SummaryWriter

        return SummaryWriter(str(run / "tensorboard"), purge_step=start + 1 if start else None)
    raise ValueError(
        "loop.tensorboard needs tensorboardX: pip install 'prism-jax[report]', or --loop.tensorboard False"
    )
