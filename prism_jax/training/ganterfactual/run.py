"""Trains two generators that add an attribute to images and remove it, after GANterfactual (Mertes et al. 2022,
arXiv 2012.11905): `prism train ganterfactual --config NAME [--section.option value ...]`.

A CycleGAN between unpaired images without and with the attribute, and a frozen classifier in the generators' loss. That
classifier must not judge the counterfactuals later: the generators were trained to satisfy it.
Generators have no text and no graph: they may also change whatever correlates with the attribute in the data, and the
patient's identity is only encouraged, by the cycle and identity losses.

The run folder gets, besides what every run has, `model/`: config.json and safetensors of the last generators, and
`validation.json`, the predictions of the classifier in the loss for translated validation images.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh

from prism_jax import sharding
from prism_jax.classifier import Classifier
from prism_jax.distributed import DistributedConfig
from prism_jax.models.cyclegan import CycleGANConfig, Discriminators, Generators
from prism_jax.training import run_folder
from prism_jax.training import state as states
from prism_jax.training.examples import Data
from prism_jax.training.ganterfactual import data as ganterfactual_data
from prism_jax.training.ganterfactual import validation as ganterfactual_validation
from prism_jax.training.ganterfactual.data import Sides, UnpairedBatches
from prism_jax.training.ganterfactual.step import GanState, GANterfactualObjective, create, train_step
from prism_jax.training.ganterfactual.validation import GANterfactualValidation
from prism_jax.training.loop import LoopConfig, fit
from prism_jax.training.optimizer import OptimizerConfig, make_update
from prism_jax.weights import cyclegan, pretrained
from prism_jax.weights.files import fingerprint

NETWORKS = {"generators": Generators, "discriminators": Discriminators}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GANterfactualRun:
    """Everything a run of this program depends on."""

    run: str = "runs/ganterfactual"
    """Run folder."""
    seed: int = 7
    """Seed of all random draws."""
    classifier: str = "runs/classifier/model"
    """Folder model/ of a run of train.classifier with the attribute among its targets, used in the loss; evaluate the
    results with other classifiers."""
    data: Data = Data(size=64)
    model: CycleGANConfig = CycleGANConfig()
    """Its `attribute` is the one that is added and removed."""
    objective: GANterfactualObjective = GANterfactualObjective()
    optimizer: OptimizerConfig = OptimizerConfig(peak=2e-4, warmup=0, decay="constant", b1=0.5, clip=float("inf"))
    """For generators and discriminators alike."""
    skip: states.SkipConfig = states.SkipConfig(spike_factor=float("inf"))
    """Adversarial gradients vary strongly: only batches with non-finite loss or gradient are skipped."""
    loop: LoopConfig = LoopConfig()
    batch_size: int = 8
    """Images with and images without the attribute, each, per batch."""
    validation: GANterfactualValidation = GANterfactualValidation()
    processes: DistributedConfig = DistributedConfig()


def main(config: GANterfactualRun) -> None:
    """Trains, then writes `model/` and `validation.json` into the run folder."""
    config.processes.initialize()
    mesh = sharding.make_mesh(batch_size=config.batch_size)
    classifier = check(config, mesh)
    attribute = config.model.attribute
    held = dataclasses.replace(config.data, split=config.validation.split, limit=config.validation.limit)
    data, held = (ganterfactual_data.load(part, attribute) for part in (config.data, held))
    with run_folder.locked(config.run):
        train(config, classifier, data, held, mesh)


def check(config: GANterfactualRun, mesh: Mesh) -> Classifier:
    """The classifier of the loss; ValueError for options that do not fit, before anything slow."""
    run_folder.check_images(config, config.model, mesh)
    try:
        classifier = Classifier.from_pretrained(config.classifier)
        classifier.column(config.model.attribute)
    except ValueError as error:
        raise ValueError(f"--classifier {config.classifier}: {error}") from error
    run_folder.check_same_training(config, fixed=("seed", "classifier", "model"))
    return classifier


def train(config: GANterfactualRun, classifier: Classifier, data: Sides, held: Sides, mesh: Mesh) -> GanState:
    """Trains on `data`, measures on `held`; returns the last state."""
    tx, update = make_update(config)
    networks = {name: nnx.split(pretrained.abstract(network, config.model))[0] for name, network in NETWORKS.items()}
    generators, attribute = networks["generators"], config.model.attribute
    frozen = sharding.to_global(jax.device_get(classifier), sharding.replicated(mesh))
    translate = ganterfactual_validation.predict_fn(generators, attribute, config.batch_size, mesh)
    predict = lambda params: translate(params, frozen, {"image": held.images, "has": held.has})
    state = fit(
        partial(train_step, networks=networks, attribute=attribute, objective=config.objective, update=update),
        config,
        create=partial(create, config=config.model, pool=config.objective.pool, tx=tx),
        initial=untrained(config),
        frozen=frozen,
        batches=UnpairedBatches(data, batch_size=config.batch_size, seed=config.seed),
        mesh=mesh,
        validate=ganterfactual_validation.validation(config, predict, held),
    )
    finish(config, state, generators, predict, held)
    return state


def untrained(config: GANterfactualRun) -> dict[str, Any]:
    """The parameters before the first step, on the host."""
    draw = lambda name: states.untrained(NETWORKS[name], config.model, config.seed, stream=f"init {name}")
    return jax.device_get({name: draw(name) for name in NETWORKS})


def finish(config: GANterfactualRun, state: GanState, graphdef: nnx.GraphDef, predict: Callable, held: Sides) -> None:
    """Writes the generators, the name of the classifier in their loss, and that classifier's validation results."""
    predictions = predict(state.generators.params)  # by all processes together
    report = ganterfactual_validation.measured(predictions, held, config)
    if jax.process_index() != 0:
        return
    run, step = Path(config.run), int(state.generators.step)
    cyclegan.save(nnx.merge(graphdef, jax.device_get(state.generators.params)), run / "model")
    about = {"step": step, "seed": config.seed, cyclegan.CLASSIFIER: fingerprint(config.classifier)}
    pretrained.write_json(about, run / "model" / cyclegan.TRAINING)
    pretrained.write_json(report, run / "validation.json")
    run_folder.announce(run / "model", f"generators of step {step}")
    run_folder.print_report(report, config.validation.split)
