"""Trains networks that predict attributes from images: `prism train predictors --config NAME ...`.

They are in the loss of counterfactual training (`prism train counterfactual_finetune`). Its results must be measured
by other predictors, trained with another seed in another folder: the ones in the loss are biased in its favour (Xia et
al., MICCAI 2024, arXiv 2403.09422).

The run folder gets, besides what every run has, `model/`: config.json and safetensors of the averaged weights of the
lowest validation loss, and the graph with the attributes they predict; and `validation.json`, their metrics on the
validation images, by which that checkpoint was chosen.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jax.sharding import Mesh

from prism_jax import rng, sharding
from prism_jax.distributed import DistributedConfig
from prism_jax.models.predictors import ChestConfig, MorphoConfig
from prism_jax.pixels import from_uint8
from prism_jax.scm import graphs, predictions
from prism_jax.scm.graph import Graph
from prism_jax.scm.observed import Digits, Observed
from prism_jax.training import observed_images, run_folder
from prism_jax.training import state as states
from prism_jax.training.array_batches import ArrayBatches
from prism_jax.training.examples import Data
from prism_jax.training.finetune.lora import merge_dicts
from prism_jax.training.image_mechanism.run import average_decay
from prism_jax.training.loop import LoopConfig, fit
from prism_jax.training.optimizer import OptimizerConfig, make_update
from prism_jax.training.predictors import validation as predictors_validation
from prism_jax.training.predictors.validation import PredictorsValidation
from prism_jax.weights import predictors as weights
from prism_jax.weights import pretrained


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictorsRun:
    """Everything a run of this program depends on."""

    run: str = "runs/predictors"
    """Run folder."""
    seed: int = 7
    """Seed of all random draws."""
    graph: Graph = graphs.phantom()
    """Its attributes are the ones that are predicted."""
    data: Data | Digits = Data(size=64)
    model: MorphoConfig | ChestConfig = ChestConfig.phantom()
    shift: int = 0
    """Pixels by which training moves images at random."""
    optimizer: OptimizerConfig = OptimizerConfig(peak=1e-3, decay="constant", clip=200.0, weight_decay=0.05)
    skip: states.SkipConfig = states.SkipConfig()
    ema_decay: float = 0.999
    """Decay of the average of weights and running moments; for the first 102 updates the average is a copy, as in
    image_mechanism."""
    loop: LoopConfig = LoopConfig()
    batch_size: int = 32
    """Images per update, over all devices."""
    validation: PredictorsValidation = PredictorsValidation()
    processes: DistributedConfig = DistributedConfig()


@struct.dataclass
class PredictorState:
    """Everything a training step changes; a pytree."""

    trained: states.TrainState
    moments: Any  # running moments of the batch norms, nested as the network has them; None without batch norms
    averaged: Any  # the average of these, as `trained.ema` is that of the parameters


def create(initial: dict[str, Any], *, tx: Any) -> PredictorState:
    """The state before the first step, of "params" and "moments"."""
    moments = initial["moments"]
    copy = partial(jax.tree.map, jnp.copy)
    return PredictorState(
        trained=states.create(initial["params"], tx, ema=True), moments=copy(moments), averaged=copy(moments)
    )


def values(params: Any, moments: Any) -> dict:
    """Parameters and running moments as one nested dict, as the network takes them."""
    return params if moments is None else merge_dicts(params, moments)


def train_step(
    state: PredictorState,
    frozen: None,
    batch: dict[str, jax.Array],
    key: jax.Array,
    *,
    graphdef: nnx.GraphDef,
    config: PredictorsRun,
    update: Callable,
) -> tuple[PredictorState, dict[str, jax.Array]]:
    """One step on a `batch` of `Observed.arrays`; batch norms use the moments of the whole batch, over all
    devices."""
    before = state.trained
    keys = lambda name: rng.per_example(rng.at_step(rng.stream(key, name), before.step), batch["id"])
    x = observed_images.random_shift(from_uint8(batch["image"]), keys("shift"), config.shift)

    def objective(params):
        network = nnx.merge(graphdef, values(params, state.moments))
        outputs = predictions.read(network, config.graph, x, batch, keys=keys("dropout"))
        costs = {
            name: -log_prob.mean() for name, log_prob in predictions.log_prob(config.graph, outputs, batch).items()
        }
        return sum(costs.values()), (costs, _moments(network))

    (loss, (costs, moments)), grads = jax.value_and_grad(objective, has_aux=True)(before.params)
    trained, metrics = update(before, loss, grads)
    rate = average_decay(config.ema_decay, before.updates)
    averaged = jax.tree.map(lambda old, new: rate * old + (1 - rate) * new, state.averaged, moments)
    changed = PredictorState(trained=trained, moments=moments, averaged=averaged)
    # A skipped batch must not change the moments either; `trained` is unchanged already.
    unchanged = state.replace(trained=trained)
    kept = jax.tree.map(lambda new, old: jnp.where(metrics["skipped"] == 0, new, old), changed, unchanged)
    return kept, {"loss": loss, **{f"nll_{name}": cost for name, cost in costs.items()}, **metrics}


def main(config: PredictorsRun) -> None:
    """Trains, then writes `model/` and `validation.json` into the run folder."""
    config.processes.initialize()
    mesh = sharding.make_mesh(batch_size=config.batch_size)
    check(config, mesh)
    held = dataclasses.replace(config.data, split=config.validation.split, limit=config.validation.limit)
    with run_folder.locked(config.run):
        train(config, observed_images.load(config.data, config.graph), observed_images.load(held, config.graph), mesh)


def train(config: PredictorsRun, data: Observed, held: Observed, mesh: Mesh) -> PredictorState:
    """Trains on `data`, measures on `held`; returns the last state."""
    tx, update = make_update(config, decay=average_decay)
    graphdef, _ = nnx.split(pretrained.abstract(weights.network_of(config.model), config.model))
    predict = predictors_validation.predict_fn(config, graphdef, mesh)
    state = fit(
        partial(train_step, graphdef=graphdef, config=config, update=update),
        config,
        create=partial(create, tx=tx),
        initial=untrained(config),
        frozen=None,
        batches=ArrayBatches(data.arrays(), batch_size=config.batch_size, seed=config.seed),
        mesh=mesh,
        validate=predictors_validation.validation(config, lambda state: predict(usable(state), held), held),
    )
    finish(config, states.best_state(config.run, state), graphdef, held, predict)
    return state


def untrained(config: PredictorsRun) -> dict[str, Any]:
    """Parameters and moments before the first step, on the host."""
    network = weights.network_of(config.model)(config.model, rngs=nnx.Rngs(rng.stream(rng.key(config.seed), "init")))
    params = nnx.to_pure_dict(nnx.state(network, nnx.Param))
    return jax.device_get({"params": params, "moments": _moments(network)})


def usable(state: PredictorState) -> dict:
    """All numbers of the averaged network."""
    return values(states.averaged_params(state.trained), state.averaged)


def finish(
    config: PredictorsRun, best: PredictorState, graphdef: nnx.GraphDef, held: Observed, predict: Callable
) -> None:
    """Writes the averaged network of the best checkpoint, and its metrics on the images `held`."""
    report = predictors_validation.measured(predict(usable(best), held), held, config)  # by all processes together
    if jax.process_index() != 0:
        return
    network = nnx.merge(graphdef, jax.device_get(usable(best)))
    about = {"step": int(best.trained.step), "seed": config.seed}
    run_folder.write_model(config.run, weights.save, network, config.graph, about)
    pretrained.write_json(report, Path(config.run) / "validation.json")
    run_folder.print_report(report, config.validation.split)


def check(config: PredictorsRun, mesh: Mesh) -> None:
    """Raises ValueError for options that do not fit, before anything slow."""
    run_folder.check_images(config, config.model, mesh)
    if config.batch_size < 2:
        raise ValueError(f"batch_size {config.batch_size} has no variance for batch norms; use 2 or more")
    predictions.check(config.model, config.graph)
    run_folder.check_validated_checkpoints(config)
    run_folder.check_same_training(config, fixed=("seed", "graph", "model"))


def _moments(network: nnx.Module) -> Any:
    return nnx.to_pure_dict(nnx.state(network, nnx.BatchStat)) or None
