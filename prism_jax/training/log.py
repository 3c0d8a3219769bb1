"""The logs of a training run: `metrics.jsonl`, TensorBoard, and the ids of skipped batches."""

import contextlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import struct

from prism_jax.atomic import atomic_write

METRICS_FILE = "metrics.jsonl"
SKIPPED_FILE = "skipped.jsonl"


@struct.dataclass
class Mean:
    """A mean over a number of items that varies between steps and may be 0."""

    total: jax.Array
    count: jax.Array


Metrics = Mapping[str, jax.Array | Mean]


class Log:
    """Writes a line of metrics.jsonl every `every` steps: means of their metrics, which are fetched one step late.

    A class because it holds the metrics of the step that may still be computing.
    """

    def __init__(self, run: Path, start: int, every: int, *, max_skips: int, peak: float | None, board: bool):
        self._run, self._every, self._max_skips = run, every, max_skips
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
        # Every process writes the ids of its own part of a batch.
        index = jax.process_index()
        return self._run / (SKIPPED_FILE if index == 0 else SKIPPED_FILE.replace(".", f".{index}."))

    def add(self, step: int, metrics: Metrics, ids: np.ndarray) -> None:
        """Adds the metrics of `step`, which may still be computing, and fetches those of the step before."""
        self._images += len(ids) * jax.process_count()
        self.flush()
        self._pending = step, metrics, ids

    def flush(self) -> None:
        """Fetches the metrics that are pending."""
        if self._pending is None:
            return
        (step, metrics, ids), self._pending = self._pending, None
        values = jax.device_get(dict(metrics))
        if values.pop("skipped", 0):
            self._skip(step, values, ids)
        else:
            self._in_a_row = 0
            self._window.append(values)
        if step % self._every == 0 and self._window:
            self._write_window(step)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes these metrics as a line of their own."""
        if not metrics or not self._is_writer:
            return
        with (self._run / METRICS_FILE).open("a") as file:
            file.write(json.dumps({"step": step, **{k: float(v) for k, v in metrics.items()}}) + "\n")
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(name, float(value), step)

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Adds uint8 `pixels` [h, w, 3] to TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Writes what TensorBoard has not written yet."""
        if self._board is not None:
            self._board.close()

    def _skip(self, step: int, values: Mapping[str, Any], ids: np.ndarray) -> None:
        self._in_a_row += 1
        numbers = {name: float(values[name]) for name in ("loss", "grad_norm")}
        with self._skipped.open("a") as file:
            file.write(
                json.dumps({"step": step, **{k: repr(v) for k, v in numbers.items()}, "ids": ids.tolist()}) + "\n"
            )
        if self._in_a_row >= self._max_skips:
            raise FloatingPointError(
                f"{self._in_a_row} batches in a row were skipped, the last at step {step} (loss {numbers['loss']:.4g}, "
                f"gradient norm {numbers['grad_norm']:.4g}); their ids are in {self._skipped}: look at these images, "
                "or resume with --loop.allow_changes True and a lower --optimizer.peak or --dtype float32"
            )

    def _write_window(self, step: int) -> None:
        means = {name: _mean([values[name] for values in self._window]) for name in self._window[0]}
        means = {name: value for name, value in means.items() if math.isfinite(value)}
        seconds = max(time.perf_counter() - self._clock, 1e-9)
        means |= {"steps_per_second": len(self._window) / seconds, "images_per_second": self._images / seconds}
        if self._peak is not None:
            means["mfu"] = means["steps_per_second"] / self._peak
        self._clock, self._window, self._images = time.perf_counter(), [], 0
        self.write(step, means)
        self.latest = {name: f"{means[name]:.4g}" for name in ("loss", "psnr") if name in means}


def _mean(values: list[Any]) -> float:
    """The mean of a metric over steps; NaN where it has no items."""
    if not isinstance(values[0], Mean):
        return float(np.mean(values))
    count = float(sum(value.count for value in values))
    return float(sum(value.total for value in values)) / count if count else math.nan


def _cut(path: Path, start: int) -> None:
    """Drops the lines after step `start`, whose steps are trained again."""
    if not path.exists():
        return
    # A line that a crash cut off does not end in a brace.
    lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
    kept = [line for line in lines if json.loads(line)["step"] <= start]
    with atomic_write(path) as partial:
        partial.write_text("".join(line + "\n" for line in kept))


def _board(run: Path, start: int) -> Any:
    """A writer of TensorBoard files in `run/tensorboard`; entries of steps after `start` are hidden there."""
    with contextlib.suppress(ImportError):
        from tensorboardX import SummaryWriter

        return SummaryWriter(str(run / "tensorboard"), purge_step=start + 1 if start else None)
    raise ValueError(
        "loop.tensorboard needs tensorboardX: pip install 'prism-jax[report]', or --loop.tensorboard False"
    )
