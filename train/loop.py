"""The loop that every training program shares.

Order that matters: step n + 1 is dispatched before the metrics of step n are fetched, so that the device never
waits for logging; but whatever looks at the state (a checkpoint, a hook) comes after the metrics of all steps
so far were found finite.
"""

import contextlib
import dataclasses
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from prism_jax import rng, sharding
from prism_jax.checkpoint import Checkpoints
from train.state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long a run is and what it leaves behind."""

    steps: int = 1000
    log_every: int = 20
    """Steps per line of metrics.jsonl; each line is a mean over them."""
    checkpoint_every: int = 500
    keep: int = 2
    """Checkpoints kept."""


class Batches(Protocol):
    """What the loop asks of data: dicts of numpy arrays, this host's part, and a position to go back to."""

    def __next__(self) -> Mapping[str, np.ndarray]: ...
    def get_state(self) -> Any: ...
    def set_state(self, state: Any) -> None: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hook:
    """`call(state, step)` every `every` steps (0: never) and after the last; what it returns is logged."""

    every: int
    call: Callable[[TrainState, int], Mapping[str, float] | None]


def fit(
    step_fn: Callable,
    *,
    create: Callable[[], TrainState],
    frozen: Any,
    batches: Batches,
    config: LoopConfig,
    run: str | Path,
    seed: int,
    mesh: Mesh,
    hooks: Sequence[Hook] = (),
) -> TrainState:
    """Trains to `config.steps` in the folder `run`, going on from its latest checkpoint.

    Args:
      step_fn: pure `(state, frozen, batch, rng) -> (state, metrics)`; jitted here and nowhere else.
      create: makes the first state, on the mesh; only traced when a checkpoint is there to go on from.
      frozen: a pytree of arrays that the step reads.

    Raises:
      KeyboardInterrupt: SIGINT or SIGTERM came; the state was saved.
      FloatingPointError: a metric is not finite; nothing was saved since it was.
      OSError: no room for a checkpoint; earlier ones stay.
    """
    run = Path(run)
    everywhere, over_batch = sharding.replicated(mesh), sharding.over_batch(mesh)
    checkpoints = Checkpoints(run / "checkpoints", keep=config.keep)
    state, start = _first_state(create, checkpoints, batches, everywhere)
    log = _Log(run / "metrics.jsonl", start, config.log_every)
    # Only the state is donated; params, moments and average are updated in place.
    step_fn = jax.jit(
        step_fn,
        in_shardings=(everywhere, everywhere, over_batch, everywhere),
        out_shardings=(everywhere, everywhere),
        donate_argnums=0,
    )
    frozen, root = jax.device_put((frozen, rng.key(seed)), everywhere)
    bar = _progress(config.steps, start)
    with jax.set_mesh(mesh), contextlib.closing(checkpoints), _stop_signals() as signals, bar:
        for step in range(start + 1, config.steps + 1):
            batch = sharding.put_batch(_with_small_ids(next(batches)), mesh)
            with jax.transfer_guard("disallow"):
                state, metrics = step_fn(state, frozen, batch, root)
            log.add(step, metrics)
            bar.update()
            last = step == config.steps or bool(signals)
            due = [hook for hook in hooks if hook.every and (step % hook.every == 0 or step == config.steps)]
            if last or due or step % config.checkpoint_every == 0:
                log.flush()
            if last or step % config.checkpoint_every == 0:
                checkpoints.save(step, state, batches.get_state())
            if signals:
                raise KeyboardInterrupt(f"stopped at step {step}; the same command goes on from there")
            for hook in due:
                log.write(step, hook.call(state, step) or {})
            bar.set_postfix(log.latest, refresh=False)
    return state


def _first_state(
    create: Callable[[], TrainState], checkpoints: Checkpoints, batches: Batches, where: jax.sharding.Sharding
) -> tuple[TrainState, int]:
    step = checkpoints.latest()
    if step is None:
        return create(), 0
    shapes = jax.eval_shape(create)
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), shapes)
    state, position = checkpoints.restore(step, like)
    batches.set_state(position)
    print(f"going on from step {step} of {checkpoints.folder.parent}", file=sys.stderr)
    return state, step


def _with_small_ids(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: rng.example_ids(part) if name == "id" else part for name, part in batch.items()}


class _Log:
    """metrics.jsonl: one line per `every` steps with the means of their metrics, fetched one step late."""

    def __init__(self, path: Path, start: int, every: int):
        self._path, self._every, self._pending, self._window = path, every, None, []
        self._clock = time.perf_counter()
        self.latest: dict[str, str] = {}
        self._active = jax.process_index() == 0
        if self._active:
            _cut(path, start)

    def add(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Takes the metrics of `step`, which may still be computing, and fetches those of the step before."""
        previous, self._pending = self._pending, (step, metrics)
        self._fetch(previous)

    def flush(self) -> None:
        """Fetches what is pending."""
        previous, self._pending = self._pending, None
        self._fetch(previous)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        if metrics and self._active:
            with self._path.open("a") as file:
                file.write(json.dumps({"step": step, **{k: float(v) for k, v in metrics.items()}}) + "\n")

    def _fetch(self, pending: tuple[int, Mapping[str, jax.Array]] | None) -> None:
        if pending is None:
            return
        step, metrics = pending
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        broken = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise FloatingPointError(
                f"{', '.join(broken)} at step {step}; nothing was saved since: lower the learning rate "
                "(--optimizer.peak) or compute in float32, then run the same command to go on"
            )
        self._window.append(values)
        if step % self._every == 0:
            self._write_window(step)

    def _write_window(self, step: int) -> None:
        means = {name: float(np.mean([v[name] for v in self._window])) for name in self._window[0]}
        now = time.perf_counter()
        means["steps_per_second"] = len(self._window) / max(now - self._clock, 1e-9)
        self._clock, self._window = now, []
        self.write(step, means)
        self.latest = {name: f"{means[name]:.4g}" for name in means if name in ("loss", "psnr")}


def _cut(path: Path, start: int) -> None:
    """Drops the lines after step `start`: they belong to steps that are made again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    # A line that a crash left half written does not end in a brace.
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= start]
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(line + "\n" for line in kept))
    os.replace(partial, path)


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that fills when SIGINT or SIGTERM comes; a second signal acts as ever."""
    caught: list[int] = []
    before = {}

    def note(number: int, frame: Any) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _progress(steps: int, start: int) -> tqdm:
    # In a log file a bar is a line: one every half minute is enough.
    interval = 0.5 if sys.stderr.isatty() else 30
    quiet = jax.process_index() != 0
    return tqdm(total=steps, initial=start, mininterval=interval, disable=quiet, unit="step", dynamic_ncols=True)
