"""Trains the image mechanism of a structural causal model: `prism train image_mechanism --config NAME ...`.

The run folder gets, besides what every run has, `model/`: config.json and safetensors of the averaged weights of the
lowest validation free energy (De Sousa Ribeiro et al., ICML 2023, arXiv 2306.15764).
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from prism_jax import rng, sharding
from prism_jax.distributed import DistributedConfig
from prism_jax.models.hvae import HVAE
from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.pixels import from_uint8
from prism_jax.scm import elbo, graphs
from prism_jax.scm.elbo import NegativeELBO
from prism_jax.scm.graph import Graph
from prism_jax.scm.observed import Digits, Observed
from prism_jax.sharding import ShardingConfig
from prism_jax.training import observed_images, run_folder
from prism_jax.training import state as states
from prism_jax.training.array_batches import ArrayBatches
from prism_jax.training.examples import Data
from prism_jax.training.image_mechanism import validation as image_mechanism_validation
from prism_jax.training.image_mechanism.validation import ImageMechanismValidation
from prism_jax.training.loop import LoopConfig, fit
from prism_jax.training.optimizer import OptimizerConfig, make_update
from prism_jax.training.trained_weights import trained_weights
from prism_jax.weights import hvae, pretrained

COPY_UPDATES = 101  # the last update after which the average is still a copy


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageMechanismRun:
    """Everything a run of this program depends on."""

    run: str = "runs/scm"
    """Run folder."""
    seed: int = 7
    """Seed of all random draws."""
    graph: Graph = graphs.phantom()
    """Its image parents condition the model."""
    data: Data | Digits = Data(size=64)
    model: HVAEConfig = HVAEConfig()
    """Its `parents` are those of the graph."""
    initial: str | None = None
    """Folder of an image mechanism to start from, RUN/model; None: one that is not trained."""
    objective: NegativeELBO = NegativeELBO()
    shift: int = 0
    """Pixels by which training moves images at random."""
    optimizer: OptimizerConfig = OptimizerConfig(peak=1e-3, decay="constant", b1=0.9, b2=0.9, clip=350.0)
    skip: states.SkipConfig = states.SkipConfig(spike_factor=float("inf"), max_grad_norm=500.0, max_consecutive=50)
    ema_decay: float = 0.999
    """Decay of the exponential moving average of the parameters."""
    loop: LoopConfig = LoopConfig()
    sharding: ShardingConfig = ShardingConfig()
    batch_size: int = 32
    """Images per update, over all devices."""
    validation: ImageMechanismValidation = ImageMechanismValidation()
    processes: DistributedConfig = DistributedConfig()


def train_step(
    state: states.TrainState,
    frozen: None,
    batch: dict[str, jax.Array],
    key: jax.Array,
    *,
    graphdef: nnx.GraphDef,
    config: ImageMechanismRun,
    update: Any,
) -> tuple[states.TrainState, dict[str, jax.Array]]:
    """One step on `batch`: "image" uint8 [b, h, w, c], "parents" float32 [b, p], "id" uint32 [b]."""
    at_step = lambda name: rng.at_step(rng.stream(key, name), state.step)
    keys = lambda name: rng.per_example(at_step(name), batch["id"])
    x = observed_images.random_shift(from_uint8(batch["image"]), keys("shift"), config.shift)
    noise = elbo.draw(config.model, keys("posterior"))
    first, parents = config.objective.dropped_from, batch["parents"]
    prior_parents = None if first is None else elbo.dropped(parents, at_step("dropped"), first)

    def objective(params):
        return elbo.negative_elbo(
            nnx.merge(graphdef, params),
            x,
            parents,
            noise,
            config=config.objective,
            beta=config.objective.beta_at(state.updates),
            prior_parents=prior_parents,
            uniform=elbo.dequantised(config.model, keys("uniform"), x),
        )

    (loss, metrics), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    state, updated = update(state, loss, grads)
    return state, {"loss": loss, **metrics, **updated}


def average_decay(decay: float, update: jax.Array) -> jax.Array:
    """0, a plain copy, after updates 0 to 101; then min(decay, 1 - 1 / (update - 99)), as published."""
    late = 1 - 1 / jnp.maximum(update - 99, 1).astype(jnp.float32)
    return jnp.where(update <= COPY_UPDATES, 0.0, jnp.minimum(decay, late))


def main(config: ImageMechanismRun) -> None:
    """Trains, then writes `model/` and `validation.json` into the run folder."""
    config.processes.initialize()
    mesh = sharding.make_mesh(fsdp=config.sharding.fsdp, batch_size=config.batch_size)
    check(config, mesh)
    held = dataclasses.replace(config.data, split=config.validation.split, limit=config.validation.limit)
    with run_folder.locked(config.run):
        train(config, observed_images.load(config.data, config.graph), observed_images.load(held, config.graph), mesh)


def train(config: ImageMechanismRun, data: Observed, held: Observed, mesh: Mesh) -> None:
    """Trains on `data`, measures on `held`."""
    tx, update = make_update(config, decay=average_decay)
    graphdef, _ = nnx.split(pretrained.abstract(HVAE, config.model))
    step = partial(train_step, graphdef=graphdef, config=config, update=update)
    fit(
        sharding.gather_params_first(step, mesh),
        config,
        create=partial(states.create, tx=tx, ema=True),
        initial=initial(config),
        frozen=None,
        batches=ArrayBatches(data.arrays(), batch_size=config.batch_size, seed=config.seed),
        mesh=mesh,
        validate=image_mechanism_validation.validation(config, graphdef, held, mesh),
    )
    if jax.process_index() == 0:
        finish(config)


def initial(config: ImageMechanismRun) -> Any:
    """The parameters before the first step, on the host."""
    if config.initial is not None:
        return jax.device_get(nnx.to_pure_dict(nnx.state(hvae.load(config.initial))))
    # Not within the program that makes the state: hundreds of draws in one take minutes to compile.
    return jax.device_get(states.untrained(HVAE, config.model, config.seed))


def finish(config: ImageMechanismRun) -> None:
    """Writes the averaged weights of the best checkpoint, and which that was."""
    has_best = config.loop.keep_best > 0 and config.validation.every > 0
    step, params = trained_weights(Path(config.run), None, best=has_best)
    graphdef, _ = nnx.split(pretrained.abstract(HVAE, config.model))
    run_folder.write_model(config.run, hvae.save, nnx.merge(graphdef, params), config.graph, {"step": step})


def check(config: ImageMechanismRun, mesh: Mesh) -> None:
    """Raises ValueError for options that do not fit, before anything slow."""
    run_folder.check_images(config, config.model, mesh)
    if config.model.parents != config.graph.width:
        raise ValueError(
            f"model.parents {config.model.parents} are not the {config.graph.width} channels of the graph's image "
            f"parents, {', '.join(config.graph.image_parents)}; use {config.graph.width}"
        )
    if config.initial is not None:
        given, wanted = hvae.load(config.initial).config.to_dict(), config.model.to_dict()
        if unlike := [name for name in wanted if given[name] != wanted[name]]:
            raise ValueError(f"initial {config.initial} differs from the model in {', '.join(unlike)}; make them alike")
    if config.objective.parents_only and config.validation.every:
        raise ValueError(
            f"validation.every {config.validation.every}: with objective.parents_only posteriors are not trained, and "
            "there is no free energy to measure; use 0"
        )
    run_folder.check_validated_checkpoints(config)
    run_folder.check_same_training(config, fixed=("seed", "graph", "model", "initial"))
