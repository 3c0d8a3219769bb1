"""`prism export`: what a run trained, as a diffusers folder or a LoRA file; averaged where the run kept an average."""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from prism_jax.pretrained import folder as model_folder
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.training.trained_weights import trained_weights
from prism_jax.weights import lora
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
    best: bool = False
    """Take the checkpoint of the lowest validation loss."""
    lora: bool = False
    """Of a run with low-rank changes (LoRA), write these alone, as a file that diffusers and peft load."""
    model: Path | None = None
    """Folder the run started from, if it has moved since."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the numbers in the files."""


def run(options: Options) -> int:
    """Writes the folder, whole or not at all; returns the exit code."""
    if options.out.exists():
        raise ValueError(f"{options.out} exists; choose a new folder or remove it first")
    settings = settings_of(options.run)
    scale = scale_of(settings)
    if options.lora:
        return write_lora(options, scale)
    base = base_model(options, settings)
    step, trained = trained_weights(options.run, options.step, best=options.best)
    if scale is None:
        change, how = partial(overlaid, trained=trained), "the rest from"
    else:
        change, how = partial(lora.merge, factors=trained, scale=scale), "low-rank changes merged into"
    sd = with_weights(StableDiffusion.from_pretrained(base), change)
    sd.save_pretrained(options.out, dtype=jnp.dtype(options.dtype))
    print(f"{options.out}: {', '.join(sorted(trained))} of step {step}, {how} {base}")
    return 0


def write_lora(options: Options, scale: float | None) -> int:
    """Writes the low-rank changes alone, which needs no model; returns the exit code."""
    if scale is None:
        raise ValueError(f"{options.run} trained no low-rank changes (its lora is null); leave --lora out")
    step, factors = trained_weights(options.run, options.step, best=options.best)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{options.out.name}-", dir=options.out.parent) as partial_folder:
        folder = Path(partial_folder) / "whole"
        folder.mkdir()
        lora.save(factors, folder / lora.FILE, scale=scale, dtype=jnp.dtype(options.dtype))
        os.replace(folder, options.out)
    print(f"{options.out / lora.FILE}: low-rank changes of {', '.join(sorted(factors))} of step {step}")
    return 0


def settings_of(run: Path) -> dict[str, Any]:
    """The config.json of a run of train.finetune; ValueError where it is not one."""
    settings = read_json(run / "config.json")
    if not isinstance(settings.get("model"), str):
        raise ValueError(f"{run} is not a run of train.finetune: its config.json names no model")
    return settings


def scale_of(settings: Mapping[str, Any]) -> float | None:
    """What the run multiplied its low-rank changes by: alpha / rank, or 1; None where it trained parameters."""
    options = settings.get("lora")
    if options is None:
        return None
    return 1.0 if options["alpha"] is None else options["alpha"] / options["rank"]


def base_model(options: Options, settings: Mapping[str, Any]) -> Path:
    """The folder that holds what the run did not train."""
    base = model_folder(options.model or settings["model"])
    if not base.is_dir():
        raise ValueError(f"{base}, which {options.run} started from, is not here; give --model its folder")
    return base


def with_weights(sd: StableDiffusion, change: Callable[[dict[str, Any]], dict[str, Any]]) -> StableDiffusion:
    """`sd` with the parameters, nested dicts by network, that `change` makes of its own."""
    parts = {name: nnx.split(getattr(sd, name)) for name in lora.NAMES}
    weights = change({name: nnx.to_pure_dict(state) for name, (_, state) in parts.items()})
    for name, (_, state) in parts.items():
        nnx.replace_by_pure_dict(state, weights[name])
    return dataclasses.replace(sd, **{name: nnx.merge(*part) for name, part in parts.items()})


def overlaid(weights: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, Any]:
    """`weights` with the parameters in `trained` in place of theirs.

    Raises:
      ValueError: parameters that the weights lack, or have in another shape; all at once.
    """
    given, whole = flatten_dict(trained), flatten_dict(weights)
    there = {path: np.shape(array) for path, array in whole.items()}
    unlike = [
        f"{'.'.join(map(str, path))} {np.shape(array)} for {there.get(path, 'no parameter')}"
        for path, array in given.items()
        if there.get(path) != np.shape(array)
    ]
    if unlike:
        raise ValueError(f"what was trained does not fit the model: {', '.join(sorted(unlike))}")
    return unflatten_dict(whole | given)
