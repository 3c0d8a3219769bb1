"""Evaluation during fine-tuning of Stable Diffusion: validation loss, sample grids, reconstructions."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from prism_jax import editing, rng, sharding
from prism_jax.checkpoint import VALIDATION_LOSS
from prism_jax.data.loading import pipeline
from prism_jax.metrics.image import psnr
from prism_jax.pixels import to_uint8
from prism_jax.stable_diffusion import StableDiffusion, tokenize
from prism_jax.training import examples, sample_images
from prism_jax.training import state as states
from prism_jax.training.finetune import encode as finetune_encode
from prism_jax.training.finetune import step as finetune_step
from prism_jax.training.finetune.step import DenoisingObjective
from prism_jax.training.log import Log
from prism_jax.training.loop import Hook


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneValidation:
    """Denoising loss of the averaged weights on held-out images, with the same noise at every evaluation."""

    every: int = 1000
    """Steps between evaluations; a multiple of loop.checkpoint_every, so that the best checkpoint is kept. 0: never."""
    limit: int = 256
    """Number of validation images, the first of the split val."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleGrid:
    """A grid of images sampled with the averaged weights, written to samples/STEP.png."""

    every: int = 1000
    """Steps between grids; 0: never."""
    prompts: tuple[str, ...] = ("",)
    """Prompts, one column of the grid each."""
    rows: int = 2
    """Rows of the grid: images per prompt."""
    steps: int = 25
    """Sampling steps."""
    guidance: float = 7.5
    """Classifier-free guidance scale."""
    seed: int = 0
    """Seed of the initial noise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconstructions:
    """Validation images inverted by null-text inversion and sampled back, written to reconstructions/STEP.png."""

    every: int = 0
    """Steps between reconstructions; 0: never."""
    count: int = 4
    """Number of images."""
    steps: int = 20
    """Diffusion steps of the inversion, and as many of sampling."""
    guidance: float = 3.0
    """Classifier-free guidance scale."""
    inner_steps: int = 10
    """Largest number of null-text updates per diffusion step."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalContext:
    """Everything the hooks need from a run, except the weights that change."""

    config: Any  # the FinetuneRun
    tokenizer: Any
    graphdefs: Mapping[str, nnx.GraphDef]  # of UNet and text encoder
    weights_of: Callable[[Any, Any], Mapping[str, Any]]  # (trained, frozen["networks"]) -> all parameters by network
    frozen: Mapping[str, Any]  # as the training step has it, on the mesh
    mesh: Mesh

    def networks(self, params: Any, fixed: Any) -> dict[str, nnx.Module]:
        """UNet and text encoder with the trained parameters `params` and those that stay."""
        weights = self.weights_of(params, fixed)
        return {name: nnx.merge(graphdef, weights[name]) for name, graphdef in self.graphdefs.items()}

    @contextlib.contextmanager
    def model(self, state: states.TrainState) -> Iterator[StableDiffusion | None]:
        """The model with the averaged weights, on one device of process 0; None for the other processes."""
        gather = jax.jit(lambda tree: tree, out_shardings=sharding.replicated(self.mesh))
        averaged = gather(states.averaged_params(state))  # by all processes together
        if jax.process_index() != 0:
            yield None
            return
        averaged, frozen = jax.tree.map(lambda x: x.addressable_data(0), (averaged, dict(self.frozen)))
        networks = self.networks(averaged, frozen["networks"])
        with jax.set_mesh(sharding.make_mesh(jax.local_devices()[:1])):
            yield StableDiffusion(vae=frozen["vae"], schedule=frozen["schedule"], tokenizer=self.tokenizer, **networks)


def validation(context: EvalContext) -> Hook | None:
    """The hook that computes the validation loss; None where `config.validation.every` is 0.

    Images are encoded here, once, and stay on the devices as latents.

    Raises:
      ValueError: the data set has no split val.
    """
    config, seed = context.config.validation, context.config.seed
    if not config.every:
        return None
    everywhere = sharding.replicated(context.mesh)
    root = jax.jit(lambda: rng.stream(rng.key(seed), "validation"), out_shardings=everywhere)()
    batches = list(_encoded(context, config.limit, root))

    @partial(jax.jit, out_shardings=everywhere)
    def sums(params: Any, frozen: Any, batch: Mapping[str, jax.Array], root: jax.Array) -> jax.Array:
        networks = context.networks(params, frozen["networks"])
        keys = lambda name: rng.per_example(rng.stream(root, name), batch["id"])
        losses, _ = finetune_step.example_losses(networks, frozen, batch, keys, DenoisingObjective(caption_dropout=0.0))
        return jnp.stack([jnp.sum(losses * batch["mask"]), jnp.sum(batch["mask"])])

    def call(state: states.TrainState, step: int, log: Log) -> dict[str, float]:
        params = states.averaged_params(state)
        total, count = sum(np.asarray(sums(params, context.frozen, batch, root)) for batch in batches)
        return {VALIDATION_LOSS: float(total / count)}

    return Hook(every=config.every, call=call)


def _encoded(context: EvalContext, limit: int, root: jax.Array) -> Iterator[dict[str, jax.Array]]:
    """Batches of the first validation images on the devices, as the training step takes them; the last is padded."""
    mesh, vae = context.mesh, context.frozen["vae"]
    everywhere, over_batch = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    encode = jax.jit(partial(finetune_encode.encode, objective=DenoisingObjective(), parts=1), out_shardings=over_batch)
    step = sharding.to_global(np.int32(0), everywhere)
    count, index, length = jax.process_count(), jax.process_index(), len(context.frozen["no_caption"])
    size = context.config.batch_size // context.config.accumulate // count
    for batch in _held_out(context, limit, size, process_index=index, process_count=count):
        arrays = {
            "image": batch["image"][..., :1],
            "tokens": tokenize(context.tokenizer, [str(text) for text in batch["caption"]], length=length),
            "id": rng.example_ids(batch["id"]),
            "mask": batch["mask"].astype(np.float32),
        }
        with jax.set_mesh(mesh):
            yield encode({"vae": vae}, sharding.host_batch_to_global(arrays, mesh), root, step)


def _held_out(context: EvalContext, limit: int, batch_size: int, **processes: int) -> pipeline.Batches:
    """The first validation images, in order; ValueError where there is no split val."""
    data = dataclasses.replace(context.config.data, split="val", limit=limit)
    length = len(context.frozen["no_caption"])
    caption = examples.captioner(data, partial(tokenize, context.tokenizer, length=length))
    factor = context.frozen["vae"].config.factor
    options = dict(size=data.size, fit=data.fit, crop=data.crop, factor=factor, caption=caption)
    try:
        return pipeline.batches(examples.open_split(data), batch_size, **options, **processes)
    except ValueError as error:
        raise ValueError(f"{error}; to train without it: --validation.every 0") from error


def samples(context: EvalContext) -> Hook:
    """The hook that writes sample grids: one column per prompt, rows with different noise."""
    config, side = context.config.samples, context.config.data.size

    def call(state: states.TrainState, step: int, log: Log) -> None:
        prompts = [prompt for prompt in config.prompts for _ in range(config.rows)]
        with context.model(state) as sd:
            if sd is not None:
                options = dict(steps=config.steps, guidance=config.guidance, seed=config.seed)
                images = to_uint8(np.asarray(sd.sample(prompts, **options, height=side, width=side)))
                _show(context, "samples", step, sample_images.columns(images, config.rows), log)

    return Hook(every=config.every, call=call)


def reconstructions(context: EvalContext) -> Hook:
    """The hook that inverts validation images, samples them back and logs the PSNR."""
    config = context.config.reconstructions
    shown = next(_held_out(context, config.count, config.count)) if config.every else None

    def call(state: states.TrainState, step: int, log: Log) -> dict[str, float] | None:
        with context.model(state) as sd:
            if sd is None:
                return None
            images, prompts = shown["image"], [str(caption) for caption in shown["caption"]]
            options = dict(steps=config.steps, guidance=config.guidance, inner_steps=config.inner_steps)
            inversion = editing.invert(sd, sd.encode_image(images), prompts, method="null_text", **options)
            unchanged = [[editing.Edit(prompt=prompt)] for prompt in prompts]
            decoded = sd.decode(editing.edit(sd, inversion, unchanged).latents[:, 0])
        pairs = to_uint8(np.stack([images, np.asarray(decoded)], axis=1))  # [b, 2, h, w, 3]
        _show(context, "reconstructions", step, sample_images.columns(pairs.reshape(-1, *images.shape[1:]), 2), log)
        return {"reconstruction_psnr": float(psnr(pairs[:, 0], pairs[:, 1], value_range=(0, 255)).mean())}

    return Hook(every=config.every, call=call)


def _show(context: EvalContext, name: str, step: int, pixels: np.ndarray, log: Log) -> None:
    sample_images.write(pixels, Path(context.config.run) / name / f"{step}.png")
    log.image(step, name, pixels)
