"""`prism export`: a training run as a diffusers folder with its model card, or as a LoRA file.

Weights are the run's average where it kept one.
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from prism_jax import config as configs
from prism_jax import model_card
from prism_jax.atomic import atomic_folder
from prism_jax.model_card import ModelCard
from prism_jax.pretrained import folder as model_folder
from prism_jax.stable_diffusion import CARD_FILE, StableDiffusion
from prism_jax.training.finetune import card
from prism_jax.training.finetune.run import FinetuneRun
from prism_jax.training.trained_weights import trained_weights
from prism_jax.weights import lora


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Turns a training run into a diffusers folder that prism_jax and PyTorch diffusers read."""

    run: Path
    """Run folder of `prism train finetune` or pretrain."""
    out: Path
    """New folder for the model."""
    step: int | None = None
    """Checkpoint to export; by default the newest."""
    best: bool = False
    """Export the checkpoint of the lowest validation loss."""
    lora: bool = False
    """Write only the LoRA weights of a LoRA run, as a file that diffusers and peft load."""
    model: Path | None = None
    """Folder the run started from, if it has moved since."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Data type of the stored weights."""
    held_out: int = 128
    """Validation images on which the autoencoder's error is measured for the model card; images with a much larger
    error are refused later. 0: none."""


def run(options: Options) -> int:
    """Writes the folder, whole or not at all; returns the exit code."""
    if options.out.exists():
        raise ValueError(f"{options.out} exists; choose a new folder or remove it first")
    config = configs.read(options.run, FinetuneRun, "give --run the folder of a finetune or pretrain run")
    if options.lora:
        return write_lora(options, config)
    base = model_folder(options.model or config.model)
    if not base.is_dir():
        raise ValueError(f"{base}, which {options.run} started from, is not here; give --model its folder")
    step, trained = trained_weights(options.run, options.step, best=options.best)
    if config.lora is None:
        change, how = partial(overlaid, trained=trained), "the rest from"
    else:
        change, how = partial(lora.merge, factors=trained, scale=config.lora.scale), "low-rank changes merged into"
    sd = with_weights(StableDiffusion.from_pretrained(base), change)
    sd = dataclasses.replace(sd, card=model_card_of(options, config, sd, step).to_json())
    sd.save_pretrained(options.out, dtype=jnp.dtype(options.dtype))
    print(f"{options.out}: {', '.join(sorted(trained))} of step {step}, {how} {base}")
    print(f"next: prism edit IMAGE --model {options.out} --prompt CAPTION --remove FINDING --out DIR")
    return 0


def model_card_of(options: Options, config: FinetuneRun, sd: StableDiffusion, step: int) -> ModelCard:
    """The card of the exported model; without the training data some entries are missing, and a note is printed."""
    base = model_card.of(sd)  # still that of the model the run started from
    if not card.has_data(config):
        print(
            f"the data set {config.data.folder} is not here: {CARD_FILE} states neither findings nor the autoencoder's "
            "error, so prism edit cannot complete captions or notice images of another kind",
            file=sys.stderr,
        )
    return card.card_of(config, sd, base, step, held_out=options.held_out)


def write_lora(options: Options, config: FinetuneRun) -> int:
    """Writes the LoRA weights alone, which needs no model; returns the exit code."""
    if config.lora is None:
        raise ValueError(f"{options.run} trained no low-rank changes (its lora is null); leave --lora out")
    step, factors = trained_weights(options.run, options.step, best=options.best)
    with atomic_folder(options.out) as folder:
        lora.save(factors, folder / lora.FILE, scale=config.lora.scale, dtype=jnp.dtype(options.dtype))
    print(f"{options.out / lora.FILE}: low-rank changes of {', '.join(sorted(factors))} of step {step}")
    return 0


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
