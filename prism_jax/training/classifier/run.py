"""Trains a classifier: `prism train classifier --config NAME [--section.option value ...]`.

Besides the files of every run, the run folder gets `model/`, the classifier of the best checkpoint (highest mean AUROC
of the averaged weights on the split val), calibrated on that split, and `test.json`, its metrics on the split test.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from scipy.special import expit

from prism_jax import classifier as classifiers
from prism_jax import sharding
from prism_jax.checkpoint import VALIDATION_LOSS
from prism_jax.classifier import Classifier, Prediction
from prism_jax.data import targets
from prism_jax.data.schema import Attributes
from prism_jax.distributed import DistributedConfig
from prism_jax.metrics.classification import age_error, auroc, by_target
from prism_jax.models.convnext import ConvNeXtConfig
from prism_jax.models.densenet import DenseNetConfig
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.training import examples, run_folder
from prism_jax.training import state as states
from prism_jax.training.classifier import data as classifier_data
from prism_jax.training.classifier.augment import Augmentation
from prism_jax.training.classifier.calibration import calibrated
from prism_jax.training.classifier.step import ClassifierObjective, Task, predict_fn, train_step
from prism_jax.training.examples import Data, Examples
from prism_jax.training.log import Log
from prism_jax.training.loop import Hook, LoopConfig, fit
from prism_jax.training.optimizer import OptimizerConfig, make_update
from prism_jax.weights import pretrained

INTERVALS = BootstrapConfig(resamples=500)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierValidation:
    """Validation and test on held-out images."""

    every: int = 250
    """Steps between measurements; a multiple of loop.checkpoint_every's, so that the best checkpoint can be kept."""
    limit: int | None = None
    """Number of validation images, the first of the split val; None: all."""
    test_split: str | None = "test"
    """The split on which the finished classifier is measured; None: it is not measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierRun:
    """Everything a run of this program depends on."""

    run: str = "runs/classifier"
    """Run folder."""
    seed: int = 0
    """Seed of all random draws."""
    network: DenseNetConfig | ConvNeXtConfig = DenseNetConfig.small()
    """Its number of classes is taken from the targets."""
    targets: tuple[str, ...] | None = None
    """Findings as the data set names them, "sex" and "view"; None: all that have positive and negative examples."""
    age: bool = True
    """Also predict age."""
    size: int = 128
    """Side in pixels to which the classifier resizes images."""
    data: Data = Data()
    batch_size: int = 32
    """Images per update, over all devices."""
    augmentation: Augmentation = Augmentation()
    objective: ClassifierObjective = ClassifierObjective()
    ema_decay: float | None = 0.99
    """Decay of the exponential moving average of the parameters; None: no average."""
    optimizer: OptimizerConfig = OptimizerConfig(peak=2e-3, final=0.01, weight_decay=0.02)
    skip: states.SkipConfig = states.SkipConfig()
    loop: LoopConfig = LoopConfig()
    validation: ClassifierValidation = ClassifierValidation()
    processes: DistributedConfig = DistributedConfig()


def main(config: ClassifierRun) -> None:
    """Trains in the folder `config.run`, from its latest checkpoint if there is one, then writes `model/`."""
    config.processes.initialize()
    with run_folder.locked(config.run):
        train(config, sharding.make_mesh(batch_size=config.batch_size))


def train(config: ClassifierRun, mesh: Mesh) -> Classifier:
    """Trains on the devices of `mesh`; returns the calibrated classifier."""
    check(config, mesh)
    tx, update = make_update(config)
    known = classifier_data.known_of(config.data)
    task = task_of(config, [attributes for found in known for attributes in found])
    batches = classifier_data.stream(config.data, task.targets, known, batch_size=config.batch_size, seed=config.seed)
    held = examples.load(dataclasses.replace(config.data, split="val", limit=config.validation.limit))
    network, options = network_of(config, task)
    graphdef, _ = nnx.split(pretrained.abstract(network, options))
    predict = predict_fn(graphdef, task, config.batch_size, mesh)
    frozen = {"positive": task.positive_weights, "age": np.float32(task.age_scale or (0, 1))}
    ema = config.ema_decay is not None
    step = partial(
        train_step,
        graphdef=graphdef,
        task=task,
        objective=config.objective,
        augmentation=config.augmentation,
        update=update,
    )
    state = fit(
        step,
        config,
        create=lambda _: states.create(states.untrained(network, options, config.seed), tx, ema=ema),
        initial=None,
        frozen=sharding.to_global(frozen, sharding.replicated(mesh)),
        batches=batches,
        mesh=mesh,
        validate=validation(config, task, predict, held),
    )
    params = states.averaged_params(states.best_state(config.run, state))
    labels = targets.values(held.attributes, task.targets)
    logits = predict(params, held.images).logits
    temperature, shift = map(jnp.asarray, calibrated(logits, labels, task.targets, task.positive_weights))
    classifier = task.classifier(nnx.merge(graphdef, params)).replace(temperature=temperature, shift=shift)
    finish(config, classifier, predict, params)
    return classifier


def check(config: ClassifierRun, mesh: Mesh) -> None:
    """Raises ValueError for options and data that do not fit, before anything slow."""
    sharding.check_batch_size(config.batch_size, mesh)
    if config.data.split != "train":
        raise ValueError(f"data.split is {config.data.split!r}; training takes train")
    if config.size > config.data.size:
        raise ValueError(f"size {config.size} is larger than data.size {config.data.size}; use it or less")
    for split in filter(None, ("train", "val", config.validation.test_split)):
        examples.open_split(dataclasses.replace(config.data, split=split))
    run_folder.check_same_training(config, fixed=("seed", "network", "targets", "age", "size"))


def task_of(config: ClassifierRun, known: Sequence[Attributes]) -> Task:
    """Targets and scales from the training data; ValueError if a requested target lacks positive or negative
    examples."""
    available = targets.available(known)
    if config.targets is None:
        report_left_out(known, available)
    names = available if config.targets is None else config.targets
    labels = targets.values(known, names)
    missing = [name for name, column in zip(names, labels.T, strict=True) if len(np.unique(column[column >= 0])) < 2]
    if missing or not names:
        can = f"it has {', '.join(available) or 'none'}"
        raise ValueError(f"{config.data.folder} has no yes and no of the targets {', '.join(missing)}; {can}")
    ages = targets.ages(known)
    if config.age and not np.nanstd(ages) > 0:
        raise ValueError(f"{config.data.folder} has no ages to learn; use --age False")
    scale = (float(np.nanmean(ages)), float(np.nanstd(ages))) if config.age else None
    weights = classifier_data.positive_weights(labels, config.objective.positive_weight)
    return Task(size=config.size, targets=names, age_scale=scale, positive_weights=weights)


def report_left_out(known: Sequence[Attributes], trained: Sequence[str]) -> None:
    """Prints the findings of the data set that are not trained, and whether positive or negative examples are
    missing."""
    missing = {}
    for name in dict.fromkeys(name for attributes in known for name in attributes.findings if name not in trained):
        column = targets.values(known, [name])
        states = [word for word, label in (("present", 1), ("absent", 0)) if not (column == label).any()]
        missing[name] = f"{name} (never stated {' or '.join(states)})"
    if missing and jax.process_index() == 0:
        print(f"findings that are not trained: {', '.join(missing.values())}", file=sys.stderr)


def network_of(config: ClassifierRun, task: Task) -> tuple[type[nnx.Module], Any]:
    """The class of the network, and its options with an output for each target and the age."""
    outputs = len(task.targets) + (task.age_scale is not None)
    if getattr(config.network, "norm", None) == "batch":
        raise ValueError("network.norm batch is for published weights; train with group")
    network = next(net for net, options, _ in classifiers.FAMILIES.values() if isinstance(config.network, options))
    return network, dataclasses.replace(config.network, num_classes=outputs)


def validation(config: ClassifierRun, task: Task, predict: Callable, held: Examples) -> Hook:
    """The hook that validates the averaged weights; the validation loss is 1 - mean AUROC."""
    labels, ages = targets.values(held.attributes, task.targets), targets.ages(held.attributes)

    def call(state: states.TrainState, step: int, log: Log) -> dict[str, float]:
        predictions = predict(states.averaged_params(state), held.images)
        areas = [auroc(predictions.logits[:, i], labels[:, i]) for i in range(len(task.targets))]
        measured = {f"validation_auroc_{name}": area for name, area in zip(task.targets, areas, strict=True)}
        if task.age_scale is not None:
            measured["validation_age_error"] = float(np.nanmean(np.abs(predictions.age - ages)))
        measured = {name: value for name, value in measured.items() if np.isfinite(value)}
        return {VALIDATION_LOSS: 1 - float(np.nanmean(areas)), **measured}

    if not any(np.isin((0, 1), column).all() for column in labels.T):
        raise ValueError(f"the split val of {config.data.folder} has no target with both classes; build it larger")
    return Hook(every=config.validation.every, call=call)


def finish(config: ClassifierRun, classifier: Classifier, predict: Callable, params: Any) -> None:
    """Writes the classifier, and its metrics on the split `config.validation.test_split` (process 0 only)."""
    split = config.validation.test_split
    held = None if split is None else examples.load(dataclasses.replace(config.data, split=split, limit=None))
    predictions = None if held is None else predict(params, held.images)  # by all processes together
    if jax.process_index() != 0:
        return
    run = Path(config.run)
    classifier.save_pretrained(run / "model")
    summary = f"classifier of {', '.join(classifier.targets)}{' and age' if classifier.predicts_age else ''}"
    run_folder.announce(run / "model", summary)
    if held is None:
        return
    report = measured(classifier, held, predictions)
    pretrained.write_json(report, run / f"{split}.json")
    run_folder.print_report(report, split)


def measured(classifier: Classifier, held: Examples, predictions: Prediction) -> dict[str, dict[str, dict]]:
    """Metrics of a calibrated classifier with intervals, by target and name; `predictions` are uncalibrated."""
    logits = predictions.logits / np.asarray(classifier.temperature) + np.asarray(classifier.shift)
    labels = targets.values(held.attributes, classifier.targets)
    metrics = by_target(expit(logits.astype(np.float64)), labels, classifier.targets, patients=held.patients)
    report = {name: kept.compute(config=INTERVALS) for name, kept in metrics.items()}
    if classifier.predicts_age:
        error = age_error(predictions.age, targets.ages(held.attributes), patients=held.patients, config=INTERVALS)
        report["age"] = {"mean_absolute_error": error}
    return {name: {key: dataclasses.asdict(e) for key, e in figures.items()} for name, figures in report.items()}
