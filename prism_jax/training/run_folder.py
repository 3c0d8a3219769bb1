"""Run folder of a training: lock, check of the settings on resume, and the final summary."""

import contextlib
import dataclasses
import datetime
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock, Timeout
from jax.sharding import Mesh

from prism_jax import config as configs
from prism_jax import sharding
from prism_jax.atomic import atomic_write
from prism_jax.weights import pretrained

LOCK, HOLDER = ".lock", ".lock.json"
# Settings that may change when a run is resumed: they do not change the result of the next training step.
FREE = (
    "accumulate",
    "data.num_workers",
    "latents",
    "loop",
    "processes",
    "reconstructions",
    "remat",
    "run",
    "sample_every",
    "samples",
    "sharding",
    "validation",
)


@contextlib.contextmanager
def locked(run: str | Path) -> Iterator[None]:
    """Holds the lock of a run folder; of a job of many processes, process 0 does.

    The operating system releases the lock when the process ends, however it ends.

    Raises:
      ValueError: another process holds it; the message names its host, id and start.
    """
    if jax.process_index() != 0:
        yield
        return
    run = Path(run)
    created = [folder for folder in (run, *run.parents) if not folder.exists()]
    run.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ValueError(f"{run} is in use by {_holder(run)}; wait for it, or use another --run") from None
    try:
        with atomic_write(run / HOLDER) as partial:
            started = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            partial.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": started}))
        yield
    finally:
        for name in (HOLDER, LOCK):
            (run / name).unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):  # something was written
            for folder in created:
                folder.rmdir()


def _holder(run: Path) -> str:
    try:
        holder = json.loads((run / HOLDER).read_text())
        return f"process {holder['pid']} on {holder['host']}, started {holder['started']}"
    except (OSError, ValueError, KeyError):  # it is just starting or ending
        return "another process"


def check_same_training(config: Any, *, fixed: Sequence[str]) -> None:
    """Raises ValueError where `config.run` holds checkpoints of a training with other settings.

    `fixed` names settings that no run can change; others can with `loop.allow_changes`. The message names all that
    differ. Another number of steps is reported, and those in `FREE` may differ.
    """
    run = Path(config.run)
    if not (run / configs.FILE_NAME).is_file() or not any((run / "checkpoints").glob("*")):
        return
    before = configs.read(run)
    changes = {name: f"{name} {old}, not {new}" for name, old, new in _differences(before, config)}
    refused = [text for name, text in changes.items() if _is_below(name, fixed)]
    if refused:
        raise ValueError(f"{run} holds a training with {'; '.join(refused)}; use another --run, or remove it")
    if changes and not config.loop.allow_changes:
        raise ValueError(
            f"{run} holds a training with {'; '.join(changes.values())}; use another --run, or resume it with the new "
            "settings: --loop.allow_changes True"
        )
    if before.loop.steps != config.loop.steps and jax.process_index() == 0:
        steps = f"{config.loop.steps} steps instead of {before.loop.steps}"
        print(f"{run}: training for {steps}; the learning rate follows the new number", file=sys.stderr)


def check_images(config: Any, model: Any, mesh: Mesh) -> None:
    """Raises ValueError for a batch size or images that do not fit the devices or the `model` of a run."""
    sharding.check_batch_size(config.batch_size, mesh)
    size = getattr(model, "size", config.data.size)
    if size != config.data.size:
        raise ValueError(f"data.size {config.data.size} is not the model's {size}; use that")
    if model.channels != 1:
        raise ValueError(f"model.channels {model.channels}: the data sets here are grey; use 1")


def check_validated_checkpoints(config: Any) -> None:
    """Raises ValueError where checkpoints would be saved without a validation loss."""
    every, kept = config.validation.every, config.loop.checkpoint_every
    if every and kept % every:
        raise ValueError(f"loop.checkpoint_every {kept} is no multiple of validation.every {every}; make it one")


def write_model(run: str | Path, save: Callable, network: Any, graph: Any, about: Mapping[str, Any]) -> None:
    """Writes `model/` into a run folder: the `network` by `save`, its causal `graph`, and `about` its training."""
    folder = Path(run) / "model"
    save(network, folder)
    configs.write(graph, folder / "graph")
    pretrained.write_json(about, folder / "training.json")
    announce(folder, f"averaged weights of step {about['step']}")


def announce(result: str | Path, summary: str) -> None:
    """Prints the folder of a result and its main figures."""
    if jax.process_index() == 0:
        print(f"{result}: {summary}", file=sys.stderr)


def print_report(report: Mapping[str, Mapping[str, Mapping[str, float]]], split: str) -> None:
    """Prints estimates with intervals, measured on `split`: a line per row, `{row: {metric: {value, low, high}}}`."""
    for name, row in report.items():
        cells = [f"{metric} {e['value']:.4g} [{e['low']:.4g}, {e['high']:.4g}]" for metric, e in row.items()]
        print(f"{split} {name}: {', '.join(cells)}", file=sys.stderr)


def _differences(before: Any, after: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, old value, new value) of every setting that differs, those in `FREE` left out."""
    if _is_below(name, FREE) or before == after:
        return
    if not dataclasses.is_dataclass(after) or type(before) is not type(after):
        yield name, before, after
        return
    for field in dataclasses.fields(after):
        inner = f"{name}.{field.name}" if name else field.name
        yield from _differences(getattr(before, field.name), getattr(after, field.name), inner)


def _is_below(name: str, names: Sequence[str]) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in names)
