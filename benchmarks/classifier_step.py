"""The training step of the classifier that is timed: the functions that train.classifier puts together, and noise."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from prism_jax import flops, sharding
from prism_jax.training import loop
from prism_jax.training import state as states
from prism_jax.training.classifier.run import ClassifierRun, network_of
from prism_jax.training.classifier.step import Task, train_step
from prism_jax.training.optimizer import make_update
from prism_jax.weights import pretrained

TARGETS = tuple(f"finding {i}" for i in range(14))


def task_of(run: ClassifierRun) -> Task:
    """Findings and age of a data set that is not there."""
    weights = np.ones(len(TARGETS), np.float32)
    return Task(size=run.size, targets=TARGETS, age_scale=(50.0, 20.0), positive_weights=weights)


def training(
    run: ClassifierRun, mesh: jax.sharding.Mesh
) -> tuple[Callable, Callable[[Any], Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The step as the loop compiles it, params -> first state, the frozen arrays, and a batch."""
    task = task_of(run)
    network, options = network_of(run, task)
    graphdef, _ = nnx.split(pretrained.abstract(network, options))
    tx, update = make_update(run)
    made = partial(
        train_step,
        graphdef=graphdef,
        task=task,
        objective=run.objective,
        augmentation=run.augmentation,
        update=update,
    )
    create = partial(states.create, tx=tx, ema=run.ema_decay is not None)
    where = sharding.place(jax.eval_shape(create, abstract_params(run)), mesh, sharding.ShardingConfig())
    frozen = {"positive": task.positive_weights, "age": np.asarray(task.age_scale, np.float32)}
    return loop.jitted(made, mesh, where), jax.jit(create, out_shardings=where), frozen, noise_batch(run)


def abstract_params(run: ClassifierRun) -> Any:
    """Shapes of the parameters."""
    return nnx.to_pure_dict(nnx.state(pretrained.abstract(*network_of(run, task_of(run)))))


def noise_batch(run: ClassifierRun) -> dict[str, np.ndarray]:
    """Images, labels and ages as the loop hands them to the step."""
    draw, b, side = np.random.default_rng(0), run.batch_size, run.data.size
    return {
        "image": draw.uniform(-1, 1, (b, side, side, 1)).astype(np.float32),
        "labels": draw.integers(0, 2, (b, len(TARGETS))).astype(np.float32),
        "age": draw.uniform(20, 80, b).astype(np.float32),
        "id": np.arange(b, dtype=np.uint32),
        "weight": np.ones(b, np.float32),
    }


def forward(run: ClassifierRun) -> float:
    """Operations of one prediction for one image, counted by hand."""
    network, options = network_of(run, task_of(run))
    image = jax.ShapeDtypeStruct((1, run.size, run.size, 1), jnp.float32)
    return flops.by_hand(lambda network, image: network(image), (pretrained.abstract(network, options), image))
