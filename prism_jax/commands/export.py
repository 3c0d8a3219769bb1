"""`prism export`: a training run as a diffusers folder, with averaged weights if the run kept an average."""

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import nnx

from prism_jax.checkpoint import Checkpoints
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.weights.pretrained import read_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Turns a training run into a diffusers folder that prism_jax and PyTorch diffusers read."""

    run: Path
    """Run folder of train.finetune."""
    out: Path
    """New folder for the model."""
    step: int | None = None
    """Checkpoint to take; by default the newest."""
    model: Path | None = None
    """Folder the run started from, if it has moved since."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the numbers in the files."""


def run(options: Options) -> int:
    """Writes the folder; returns the exit code."""
    if options.out.exists():
        raise ValueError(f"{options.out} exists; choose a new folder or remove it first")
    base = base_model(options)
    step, weights = trained_weights(options.run, options.step)
    sd = StableDiffusion.from_pretrained(base)
    trained = {name: filled(getattr(sd, name), arrays, name) for name, arrays in weights.items()}
    dataclasses.replace(sd, **trained).save_pretrained(options.out, dtype=jnp.dtype(options.dtype))
    print(f"{options.out}: {', '.join(sorted(trained))} of step {step}, the rest from {base}")
    return 0


def base_model(options: Options) -> Path:
    """The folder that holds what the run did not train."""
    started_from = read_json(options.run / "config.json").get("model")
    if not isinstance(started_from, str):
        raise ValueError(f"{options.run} is not a run of train.finetune: its config.json names no model")
    base = options.model or Path(started_from)
    if not base.is_dir():
        raise ValueError(f"{base}, which {options.run} started from, is not here; give --model its folder")
    return base


def trained_weights(folder: Path, step: int | None) -> tuple[int, Mapping[str, Any]]:
    """The step, and the parameters it holds as nested dicts by network: averaged ones if there are any."""
    if not (folder / "checkpoints").is_dir():
        raise ValueError(f"{folder} has no checkpoints; is it a run folder, and has it saved one?")
    with contextlib.closing(Checkpoints(folder / "checkpoints")) as checkpoints:
        newest = checkpoints.latest()
        chosen = newest if step is None else step
        if newest is None or not (folder / "checkpoints" / str(chosen)).is_dir():
            raise ValueError(f"{folder} has no checkpoint {chosen}; the newest is {newest}")
        state = checkpoints.restore_raw(chosen)
    return chosen, state["ema"] or state["params"]


def filled(network: nnx.Module, arrays: Mapping[str, Any], name: str) -> nnx.Module:
    """`network` with the parameters in `arrays`; ValueError unless names and shapes are exactly its own."""
    graphdef, state = nnx.split(network)
    wanted = dict(_flat(nnx.to_pure_dict(state)))
    given = dict(_flat(arrays))
    shapes = lambda tree: {path: np.shape(array) for path, array in tree.items()}
    unlike = sorted(".".join(path) for path, _ in shapes(wanted).items() ^ shapes(given).items())
    if unlike:
        raise ValueError(f"checkpoint and model differ in {name}: {', '.join(dict.fromkeys(unlike))}")
    nnx.replace_by_pure_dict(state, arrays)
    return nnx.merge(graphdef, state)


def _flat(tree: Mapping[Any, Any], path: tuple[str, ...] = ()):
    # Checkpoints turn the numbers of layers in a list into text.
    for key, value in tree.items():
        here = (*path, str(key))
        if isinstance(value, Mapping):
            yield from _flat(value, here)
        else:
            yield here, value
