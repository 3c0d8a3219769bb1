"""Training steps that are timed and compiled: the functions that the programs of training put together, and input."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from benchmarks import subjects
from prism_jax import flops, rng, sharding
from prism_jax.data.captions.templates import PLAIN
from prism_jax.models.hvae import HVAE
from prism_jax.models.unet import UNet2DCondition
from prism_jax.scm import elbo
from prism_jax.sharding import ShardingConfig
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.training import loop
from prism_jax.training import state as states
from prism_jax.training.classifier import step as classifier_step
from prism_jax.training.classifier.run import ClassifierRun, network_of
from prism_jax.training.finetune import encode as finetune_encode
from prism_jax.training.finetune import lora
from prism_jax.training.finetune import run as finetune_run
from prism_jax.training.finetune import step as finetune_step
from prism_jax.training.finetune.step import DenoisingObjective
from prism_jax.training.image_mechanism import run as image_mechanism_run
from prism_jax.training.image_mechanism.run import ImageMechanismRun
from prism_jax.training.optimizer import OptimizerConfig, make_optimizer, make_update
from prism_jax.weights import pretrained

OBJECTIVE = DenoisingObjective(caption_dropout=0.0)  # which costs nothing, and which the peer would have to draw alike
OPTIMIZER = OptimizerConfig(peak=1e-5, warmup=0, decay="constant", weight_decay=1e-2)
EMA_DECAY = 0.9999
STEPS = 1000  # of the schedule, which is constant
TARGETS = tuple(f"finding {i}" for i in range(14))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """A training step as the loop compiles it, and its arguments: arrays, or their shapes."""

    function: Callable  # (state, frozen, batch, key) -> (state, metrics), jitted
    create: Callable  # params -> state, jitted
    where: Any  # sharding of every array of the state
    mesh: Mesh
    params: Any
    frozen: Any
    batch: Mapping[str, Any]
    encode: Callable | None = None  # (frozen, batch, key, step) -> batch, before each step where latents are not cached


class Training:
    """A training at one batch. A class because it holds the state that every step donates."""

    def __init__(self, made: TrainingStep, *, is_cached: bool = True):
        self._mesh, self._step, self._encode = made.mesh, made.function, None
        everywhere = sharding.replicated(made.mesh)
        placed = jax.device_put((made.frozen, rng.key(0), np.int32(0)), everywhere)
        self._frozen, self._key, self._number = placed
        self.batch = jax.device_put(dict(made.batch), sharding.batch_sharding(made.mesh))
        if not is_cached:
            self._encode = jax.jit(made.encode)
        elif made.encode is not None and "latents" not in made.batch:
            self.batch = encoded(made, self.batch)
        self.state = made.create(made.params)

    def update(self) -> dict[str, jax.Array]:
        """Makes one step; its metrics."""
        batch = self.batch
        if self._encode is not None:
            batch = self._encode(self._frozen, batch, self._key, self._number)
        with jax.set_mesh(self._mesh):
            self.state, metrics = self._step(self.state, self._frozen, batch, self._key)
        return metrics

    def seconds(self, steps: int) -> float:
        """Of `steps` steps."""
        start = time.perf_counter()
        for _ in range(steps):
            metrics = self.update()
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - start


def encoded(made: TrainingStep, batch: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The batch with latents, as the cache has them, in place of images."""
    return jax.jit(made.encode)(made.frozen, dict(batch), rng.key(0), np.int32(0))


def placed(
    step: Callable, create: Callable, params: Any, mesh: Mesh, config: ShardingConfig, **rest: Any
) -> TrainingStep:
    """The step on a mesh, the state where `config` has it."""
    where = sharding.place(jax.eval_shape(create, params), mesh, config)
    function, create = loop.jitted(step, mesh, where), jax.jit(create, out_shardings=where)
    return TrainingStep(function=function, create=create, where=where, mesh=mesh, params=params, **rest)


def finetuning(
    sd: StableDiffusion,
    batch: Mapping[str, Any],
    *,
    mesh: Mesh | None = None,
    fsdp: int = 1,
    accumulate: int = 1,
) -> TrainingStep:
    """The step that trains the UNet of `sd` with AdamW and an average; on one device without a `mesh`."""
    mesh, config = mesh or one_device(), ShardingConfig(fsdp=fsdp)
    graphdefs, weights = finetune_run.split(sd)
    params, fixed = lora.split(weights, lora.UNET)
    tx, schedule = make_optimizer(OPTIMIZER, STEPS)
    step = partial(
        finetune_step.train_step,
        graphdefs=graphdefs,
        weights_of=lora.merge_dicts,
        objective=OBJECTIVE,
        parts=accumulate,
        update=partial(states.update, tx=tx, schedule=schedule, ema_decay=EMA_DECAY),
        mesh=mesh,
        specs=jax.tree.map(lambda placed: placed.spec, sharding.place(params, mesh, config)),
    )
    frozen = {"networks": fixed, "schedule": sd.schedule, "no_caption": sd.tokenize([""])[0], "vae": sd.vae}
    encode = partial(finetune_encode.encode, objective=OBJECTIVE, parts=accumulate)
    create = partial(states.create, tx=tx, ema=True)
    return placed(step, create, params, mesh, config, frozen=frozen, batch=batch, encode=encode)


def of_run(run: ClassifierRun | ImageMechanismRun, mesh: Mesh) -> TrainingStep:
    """The step of a configuration, on a batch of noise; its parameters are shapes."""
    return (classifier if isinstance(run, ClassifierRun) else image_mechanism)(run, mesh)


def classifier(run: ClassifierRun, mesh: Mesh) -> TrainingStep:
    """Of findings and age of a data set that is not there."""
    task = task_of(run)
    graphdef, params = nnx.split(pretrained.abstract(*network_of(run, task)))
    tx, update = make_update(run)
    options = dict(task=task, objective=run.objective, augmentation=run.augmentation, update=update)
    step = partial(classifier_step.train_step, graphdef=graphdef, **options)
    create = partial(states.create, tx=tx, ema=run.ema_decay is not None)
    frozen = {"positive": task.positive_weights, "age": np.asarray(task.age_scale, np.float32)}
    draw, b, side = np.random.default_rng(0), run.batch_size, run.data.size
    batch = {
        "image": draw.uniform(-1, 1, (b, side, side, 1)).astype(np.float32),
        "labels": draw.integers(0, 2, (b, len(TARGETS))).astype(np.float32),
        "age": draw.uniform(20, 80, b).astype(np.float32),
        "id": np.arange(b, dtype=np.uint32),
        "weight": np.ones(b, np.float32),
    }
    return placed(step, create, nnx.to_pure_dict(params), mesh, ShardingConfig(), frozen=frozen, batch=batch)


def task_of(run: ClassifierRun) -> classifier_step.Task:
    weights = np.ones(len(TARGETS), np.float32)
    options = dict(size=run.size, targets=TARGETS, age_scale=(50.0, 20.0), positive_weights=weights)
    return classifier_step.Task(**options)


def image_mechanism(run: ImageMechanismRun, mesh: Mesh) -> TrainingStep:
    """Of images and parents of noise: no operation depends on their content."""
    tx, update = make_update(run, decay=image_mechanism_run.average_decay)
    graphdef, params = nnx.split(pretrained.abstract(HVAE, run.model))
    step = partial(image_mechanism_run.train_step, graphdef=graphdef, config=run, update=update)
    create = partial(states.create, tx=tx, ema=True)
    draw, b, side = np.random.default_rng(0), run.batch_size, run.model.size
    batch = {
        "image": draw.integers(0, 256, (b, side, side, run.model.channels), np.uint8),
        "parents": draw.uniform(-1, 1, (b, run.model.parents)).astype(np.float32),
        "id": np.arange(b, dtype=np.uint32),
    }
    return placed(step, create, nnx.to_pure_dict(params), mesh, run.sharding, frozen=None, batch=batch)


def operations(run: ClassifierRun | ImageMechanismRun) -> float:
    """Of a step for one image: three times the forward pass, counted by hand."""
    shape = lambda *sides: jax.ShapeDtypeStruct(sides, np.float32)
    if isinstance(run, ClassifierRun):
        network = pretrained.abstract(*network_of(run, task_of(run)))
        return 3 * flops.by_hand(lambda network, image: network(image), (network, shape(1, run.size, run.size, 1)))
    model, side = pretrained.abstract(HVAE, run.model), run.model.size
    noise = [shape(1, *latent) for latent in run.model.latent_shapes]
    options = dict(config=run.objective, beta=run.objective.beta)
    loss = lambda *args: elbo.negative_elbo(*args, **options)[0]
    args = (model, shape(1, side, side, run.model.channels), shape(1, run.model.parents), noise)
    return 3 * flops.by_hand(loss, args)


def one_device() -> Mesh:
    return sharding.make_mesh(jax.devices()[:1])


def for_peer() -> dict[str, Any]:
    """Optimizer and average, as the peer takes them."""
    chosen = OPTIMIZER
    optimizer = {"lr": chosen.peak, "betas": [chosen.b1, chosen.b2], "eps": chosen.eps}
    optimizer |= {"weight_decay": chosen.weight_decay, "clip": chosen.clip}
    return {"optimizer": optimizer, "ema_decay": EMA_DECAY}


def with_remat(sd: StableDiffusion, remat: bool) -> StableDiffusion:
    """The same weights in a UNet that recomputes its blocks in the backward pass, or not."""
    config = dataclasses.replace(sd.unet.config, remat=remat)
    graphdef, _ = nnx.split(pretrained.abstract(UNet2DCondition, config))
    return dataclasses.replace(sd, unet=nnx.merge(graphdef, nnx.state(sd.unet)))


def inputs(sd: StableDiffusion, batch: int, size: int, *, is_encoded: bool) -> dict[str, np.ndarray]:
    """Phantoms with their captions, on the host; noise in place of encoded images."""
    numbers, pixels, attributes = subjects.phantoms("train", batch, subjects.SMALLEST if is_encoded else size)
    noise = np.random.default_rng(0).standard_normal((batch, *sd.latent_shape(size, size)), np.float32)
    shown = {"latents": noise.astype(np.float16)}
    return (shown if is_encoded else {"image": pixels[..., None].astype(np.float32) / 127.5 - 1}) | {
        "tokens": sd.tokenize([PLAIN.describe(row) for row in attributes]),
        "id": rng.example_ids(numbers),
        "weight": np.ones(batch, np.float32),
    }
