"""Trained weights, read from the checkpoints of a run."""

import contextlib
from pathlib import Path
from typing import Any

from flax import nnx

from prism_jax.checkpoint import Checkpoints


def trained_weights(folder: Path, step: int | None, *, best: bool = False) -> tuple[int, dict[str, Any]]:
    """The step and its trained parameters as nested dicts by network; the EMA parameters if the run kept an average."""
    if not (folder / "checkpoints").is_dir():
        raise ValueError(f"{folder} has no checkpoints; is it a run folder, and has it saved one?")
    with contextlib.closing(Checkpoints(folder / "checkpoints", is_reader=True)) as checkpoints:
        chosen = chosen_step(checkpoints, folder, step, best=best)
        state = checkpoints.restore_raw(chosen)
    # Checkpoints turn the numbers of layers in a list into text.
    return chosen, nnx.restore_int_paths(state["ema"] or state["params"])


def chosen_step(checkpoints: Checkpoints, folder: Path, step: int | None, *, best: bool) -> int:
    """The step asked for; ValueError where there is no checkpoint of it."""
    if best and step is not None:
        raise ValueError(f"--best and --step {step} each name a checkpoint; leave one out")
    newest = checkpoints.latest()
    chosen = checkpoints.best() if best else newest if step is None else step
    if newest is None:
        raise ValueError(f"{folder} has no complete checkpoint; run the same training again to resume it")
    if chosen is None:
        raise ValueError(f"no checkpoint of {folder} has a validation loss; leave --best out for the newest, {newest}")
    if not (folder / "checkpoints" / str(chosen)).is_dir():
        raise ValueError(f"{folder} has no checkpoint {chosen}; the newest is {newest}")
    return chosen
