"""Trains an image mechanism for its counterfactuals: `prism train counterfactual_finetune --config NAME ...`.

It starts from a model of `prism train image_mechanism`. Frozen predictors (`prism train predictors`) score whether its
counterfactuals show the intended attributes, which frozen mechanisms (`prism train mechanisms`) compute. Its free
energy is kept within a limit by a Lagrange multiplier (De Sousa Ribeiro et al., ICML 2023, arXiv 2306.15764, section
3.3).

The run folder gets, besides what every run has, `model/` as train.image_mechanism writes it, of the best checkpoint.
"""

import dataclasses
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from prism_jax import config as configs
from prism_jax import sharding
from prism_jax.distributed import DistributedConfig
from prism_jax.models.hvae import HVAE
from prism_jax.scm import folder, predictions
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.graph import Graph
from prism_jax.scm.observed import Digits, Observed
from prism_jax.training import observed_images, run_folder
from prism_jax.training import state as states
from prism_jax.training.array_batches import ArrayBatches
from prism_jax.training.examples import Data
from prism_jax.training.image_mechanism import counterfactual_validation
from prism_jax.training.image_mechanism.counterfactual_step import (
    CounterfactualObjective,
    CounterfactualState,
    Judged,
    create,
    train_step,
)
from prism_jax.training.image_mechanism.run import average_decay
from prism_jax.training.image_mechanism.validation import ImageMechanismValidation
from prism_jax.training.loop import LoopConfig, fit
from prism_jax.training.optimizer import OptimizerConfig, make_update
from prism_jax.weights import hvae, predictors


@dataclasses.dataclass(frozen=True, kw_only=True)
class CounterfactualFinetuneRun:
    """Everything a run of this program depends on."""

    run: str = "runs/counterfactual"
    """Run folder."""
    seed: int = 7
    """Seed of all random draws."""
    image: str = "runs/scm/model"
    """Folder model/ of a run of train.image_mechanism, which training starts from."""
    mechanisms: str = "runs/mechanisms/model"
    """Folder model/ of a run of train.mechanisms."""
    predictors: str = "runs/predictors/model"
    """Folder model/ of a run of train.predictors, used in the loss; evaluate the results with other predictors."""
    data: Data | Digits = Data(size=64)
    objective: CounterfactualObjective = CounterfactualObjective()
    shift: int = 0
    """Pixels by which training moves images at random."""
    optimizer: OptimizerConfig = OptimizerConfig(peak=1e-4, decay="constant", b1=0.9, b2=0.9, clip=350.0)
    ascent: float = 1e-2
    """Learning rate of the multiplier; its AdamW has the optimizer's betas and no decay."""
    skip: states.SkipConfig = states.SkipConfig(spike_factor=float("inf"), max_grad_norm=500.0, max_consecutive=50)
    ema_decay: float = 0.999
    """Decay of the exponential moving average of the parameters."""
    loop: LoopConfig = LoopConfig()
    batch_size: int = 32
    """Images per update, over all devices."""
    validation: ImageMechanismValidation = ImageMechanismValidation()
    processes: DistributedConfig = DistributedConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """Models that earlier runs trained."""

    image: HVAE
    mechanisms: AttributeModel
    predictor: predictors.Predictor


def main(config: CounterfactualFinetuneRun) -> None:
    """Trains, then writes `model/` into the run folder."""
    config.processes.initialize()
    mesh = sharding.make_mesh(batch_size=config.batch_size)
    trained = load(config)
    check(config, trained, mesh)
    held = dataclasses.replace(config.data, split=config.validation.split, limit=config.validation.limit)
    data, held = (observed_images.load(part, trained.mechanisms.graph) for part in (config.data, held))
    with run_folder.locked(config.run):
        train(config, trained, data, held, mesh)


def load(config: CounterfactualFinetuneRun) -> Trained:
    """The three models; ValueError for a folder that holds something else, or another graph than the mechanisms'."""
    mechanisms = opened(config, "mechanisms", folder.load)
    for name in ("image", "predictors"):
        graph = opened(config, name, lambda path: configs.read(Path(path) / "graph"))
        if graph != mechanisms.graph:
            raise ValueError(
                f"{name} {getattr(config, name)} is of another graph than {config.mechanisms}; train both on one"
            )
    return Trained(
        image=opened(config, "image", hvae.load),
        mechanisms=mechanisms,
        predictor=opened(config, "predictors", predictors.load),
    )


def opened(config: CounterfactualFinetuneRun, name: str, read: Callable[[str], Any]) -> Any:
    """The result of `read` for the folder in option `name`; ValueError, naming that option, where it fails."""
    path, made_by = getattr(config, name), "image_mechanism" if name == "image" else name
    try:
        return read(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"--{name} {path}: {error}; give the folder model/ of a run of train.{made_by}") from error


def check(config: CounterfactualFinetuneRun, trained: Trained, mesh: Mesh) -> None:
    """Raises ValueError for options that do not fit, before anything slow."""
    run_folder.check_images(config, trained.image.config, mesh)
    predictions.check(trained.predictor.config, trained.mechanisms.graph)
    image = trained.image.config
    reads = getattr(trained.predictor.config, "size", image.size)
    if reads != image.size:
        raise ValueError(f"predictors read images of {reads} pixels, the model makes {image.size}; train them at that")
    run_folder.check_validated_checkpoints(config)
    run_folder.check_same_training(config, fixed=("seed", "image", "mechanisms", "predictors"))


def train(
    config: CounterfactualFinetuneRun, trained: Trained, data: Observed, held: Observed, mesh: Mesh
) -> CounterfactualState:
    """Trains on `data`, measures on `held`; returns the last state."""
    tx, update = make_update(config, decay=average_decay)
    ascent = optax.adamw(config.ascent, b1=config.optimizer.b1, b2=config.optimizer.b2, weight_decay=0.0)
    networks, params, frozen = taken_apart(trained, mesh)
    predict = counterfactual_validation.predict_fn(config, networks, trained.mechanisms.graph, held, mesh)
    limit = limit_of(config, predict, params, frozen)
    frozen = frozen.replace(limit=sharding.to_global(limit, sharding.replicated(mesh)))
    step = partial(
        train_step,
        networks=networks,
        objective=config.objective,
        shift=config.shift,
        update=update,
        ascent=ascent,
    )
    state = fit(
        step,
        config,
        create=partial(create, tx=tx, ascent=ascent),
        initial=params,
        frozen=frozen,
        batches=ArrayBatches(data.arrays(), batch_size=config.batch_size, seed=config.seed),
        mesh=mesh,
        validate=counterfactual_validation.validation(config, predict, frozen, held),
    )
    best = states.best_state(config.run, state)  # by all processes together
    if jax.process_index() == 0:
        finish(config, best, networks["image"], trained.mechanisms.graph, float(frozen.limit))
    return state


def taken_apart(trained: Trained, mesh: Mesh) -> tuple[dict[str, nnx.GraphDef], Any, Judged]:
    """Network structures, the image mechanism's parameters on the host, and frozen arrays on the devices, without the
    limit."""
    image, params = nnx.split(trained.image)
    predictor, values = nnx.split(trained.predictor)
    frozen = Judged(mechanisms=trained.mechanisms, predictor=nnx.to_pure_dict(values), limit=np.float32(0))
    everywhere = sharding.replicated(mesh)
    frozen = sharding.to_global(jax.device_get(frozen), everywhere)
    return {"image": image, "predictor": predictor}, jax.device_get(nnx.to_pure_dict(params)), frozen


def limit_of(config: CounterfactualFinetuneRun, predict: Callable, params: Any, frozen: Judged) -> np.float32:
    """The requested limit, or, if None, the free energy of validation images before training plus `slack`.

    Prints the limit. Published limits refer to training images; on validation images they are looser because the model
    overfits.
    """
    if config.objective.limit is not None:
        return np.float32(config.objective.limit)
    placed = sharding.to_global(params, frozen.limit.sharding)
    energy = counterfactual_validation.energy_of(predict(placed, frozen), config.objective.beta)
    limit = energy + config.objective.slack
    print(f"{config.image}: free energy {energy:.4f} nats per dimension, limit {limit:.4f}", file=sys.stderr)
    return np.float32(limit)


def finish(
    config: CounterfactualFinetuneRun, best: CounterfactualState, graphdef: nnx.GraphDef, graph: Graph, limit: float
) -> None:
    """Writes the averaged weights of the best checkpoint."""
    about = {"step": int(best.image.step), "limit": limit, "multiplier": float(best.multiplier)}
    model = nnx.merge(graphdef, jax.device_get(states.averaged_params(best.image)))
    run_folder.write_model(config.run, hvae.save, model, graph, about)
