"""The training step that is timed and compiled: the functions that train.finetune puts together, and their input."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from benchmarks import subjects
from prism_jax import rng, sharding
from prism_jax.data.captions.templates import PLAIN
from prism_jax.flops import TOKENS
from prism_jax.models.autoencoder import AutoencoderConfig, AutoencoderKL
from prism_jax.models.text_encoder import CLIPTextModel, TextConfig
from prism_jax.models.unet import UNet2DCondition, UNetConfig
from prism_jax.sharding import ShardingConfig
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.training import loop
from prism_jax.training import state as states
from prism_jax.training.finetune import encode as finetune_encode
from prism_jax.training.finetune import lora
from prism_jax.training.finetune import run as finetune_run
from prism_jax.training.finetune import step as finetune_step
from prism_jax.training.finetune.step import DenoisingObjective
from prism_jax.training.optimizer import OptimizerConfig, make_optimizer
from prism_jax.weights import pretrained

OBJECTIVE = DenoisingObjective(caption_dropout=0.0)  # which costs nothing, and which the peer would have to draw alike
OPTIMIZER = OptimizerConfig(peak=1e-5, warmup=0, decay="constant", weight_decay=1e-2)
EMA_DECAY = 0.9999
STEPS = 1000  # of the schedule, which is constant


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """A training step and its arguments: arrays, or their shapes."""

    step: Callable  # (state, frozen, batch, key) -> (state, metrics), given mesh and specs
    encode: Callable  # (frozen, batch, key, step) -> batch, before each step where latents are not cached
    create: Callable  # params -> state
    params: Any
    frozen: Mapping[str, Any]


def of(sd: StableDiffusion, *, accumulate: int = 1) -> TrainingStep:
    """The step that trains the UNet of `sd` with AdamW and an average."""
    graphdefs, weights = finetune_run.split(sd)
    params, fixed = lora.split(weights, lora.UNET)
    tx, schedule = make_optimizer(OPTIMIZER, STEPS)
    return TrainingStep(
        step=partial(
            finetune_step.train_step,
            graphdefs=graphdefs,
            weights_of=lora.merge_dicts,
            objective=OBJECTIVE,
            parts=accumulate,
            update=partial(states.update, tx=tx, schedule=schedule, ema_decay=EMA_DECAY),
        ),
        encode=partial(finetune_encode.encode, objective=OBJECTIVE, parts=accumulate),
        create=partial(states.create, tx=tx, ema=True),
        params=params,
        frozen={"networks": fixed, "schedule": sd.schedule, "no_caption": sd.tokenize([""])[0], "vae": sd.vae},
    )


def jitted(made: TrainingStep, mesh: Mesh, config: ShardingConfig) -> Callable:
    """The step as the training loop compiles it, the state where `config` has it."""
    where = sharding.place(jax.eval_shape(made.create, made.params), mesh, config)
    specs = jax.tree.map(lambda placed: placed.spec, sharding.place(made.params, mesh, config))
    return loop.jitted(partial(made.step, mesh=mesh, specs=specs), mesh, where)


def for_peer() -> dict[str, Any]:
    """Optimizer and average, as the peer takes them."""
    chosen = OPTIMIZER
    optimizer = {"lr": chosen.peak, "betas": [chosen.b1, chosen.b2], "eps": chosen.eps}
    optimizer |= {"weight_decay": chosen.weight_decay, "clip": chosen.clip}
    return {"optimizer": optimizer, "ema_decay": EMA_DECAY}


def lowered(made: TrainingStep, batch: Mapping[str, Any], mesh: Mesh, config: ShardingConfig) -> jax.stages.Lowered:
    """The step before compilation, from shapes alone."""
    shaped = lambda tree: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
    state, key = jax.eval_shape(made.create, made.params), jax.eval_shape(lambda: rng.key(0))
    with jax.set_mesh(mesh):
        return jitted(made, mesh, config).lower(state, shaped(made.frozen), shaped(batch), key)


def load(model: str, dtype: jnp.dtype) -> StableDiffusion:
    """As `subjects.load`, the VAE of SD 1.5's size too: here it is timed."""
    sd = subjects.load(model, dtype)
    if model != subjects.SD15_RANDOM:
        return sd
    return dataclasses.replace(sd, vae=subjects.untrained(AutoencoderKL, AutoencoderConfig(dtype=dtype)))


def with_remat(sd: StableDiffusion, remat: bool) -> StableDiffusion:
    """The same weights in a UNet that recomputes its blocks in the backward pass, or not."""
    config = dataclasses.replace(sd.unet.config, remat=remat)
    graphdef, _ = nnx.split(pretrained.abstract(UNet2DCondition, config))
    return dataclasses.replace(sd, unet=nnx.merge(graphdef, nnx.state(sd.unet)))


def abstract(model: str, dtype: jnp.dtype, *, remat: bool) -> StableDiffusion:
    """The same without weights: networks of shapes."""
    is_sd15 = model == subjects.SD15_RANDOM
    sd = StableDiffusion.from_pretrained("phantom" if is_sd15 else model, dtype=dtype)
    if is_sd15:
        configs = UNetConfig(dtype=dtype), AutoencoderConfig(dtype=dtype), TextConfig(dtype=dtype)
    else:
        configs = sd.unet.config, sd.vae.config, sd.text_encoder.config
    unet, vae, text = configs
    return dataclasses.replace(
        sd,
        unet=pretrained.abstract(UNet2DCondition, dataclasses.replace(unet, remat=remat)),
        vae=pretrained.abstract(AutoencoderKL, vae),
        text_encoder=pretrained.abstract(CLIPTextModel, text),
    )


def shapes(sd: StableDiffusion, batch: int, size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch of encoded images, as shapes."""
    of_batch = lambda dtype, *rest: jax.ShapeDtypeStruct((batch, *rest), dtype)
    return {
        "latents": of_batch(jnp.float16, *sd.latent_shape(size, size)),
        "tokens": of_batch(jnp.int32, TOKENS),
        "id": of_batch(jnp.uint32),
        "weight": of_batch(jnp.float32),
    }


def latents(sd: StableDiffusion, batch: int, size: int) -> dict[str, np.ndarray]:
    """A batch of noise in place of encoded images, with the captions of phantoms, on the host."""
    numbers, _, attributes = subjects.phantoms("train", batch, subjects.SMALLEST)
    shape = (batch, *sd.latent_shape(size, size))
    return {
        "latents": np.random.default_rng(0).standard_normal(shape, np.float32).astype(np.float16),
        "tokens": sd.tokenize([PLAIN.describe(row) for row in attributes]),
        "id": rng.example_ids(numbers),
        "weight": np.ones(batch, np.float32),
    }


def images(sd: StableDiffusion, batch: int, size: int) -> dict[str, np.ndarray]:
    """A batch of phantoms, not encoded, on the host."""
    numbers, pixels, attributes = subjects.phantoms("train", batch, size)
    return {
        "image": pixels[..., None].astype(np.float32) / 127.5 - 1,  # [b, h, w, 1]
        "tokens": sd.tokenize([PLAIN.describe(row) for row in attributes]),
        "id": rng.example_ids(numbers),
        "weight": np.ones(batch, np.float32),
    }
