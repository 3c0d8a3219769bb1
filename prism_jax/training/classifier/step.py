"""Classifier training step (masked BCE on findings, MSE on age) and batched inference."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from prism_jax import rng
from prism_jax.classifier import Classifier, Prediction, resized
from prism_jax.training import state as states
from prism_jax.training.classifier.augment import Augmentation, augment
from prism_jax.training.predict import predict_over_mesh
from prism_jax.training.vae.loss import to_float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierObjective:
    """Weights of the loss."""

    positive_weight: float = 10.0
    """Largest weight of the rarer class of a target against the other; 1: all examples weigh the same."""
    age_weight: float = 0.3
    """Weight of the squared error of the age, in standard deviations."""

    def __post_init__(self) -> None:
        if self.positive_weight < 1 or self.age_weight < 0:
            raise ValueError(
                f"objective.positive_weight {self.positive_weight} must be 1 (all weigh the same) or more, "
                f"age_weight {self.age_weight} 0 or more"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """Targets and scales, as the training data has them."""

    size: int  # side in pixels to which the classifier resizes images
    targets: tuple[str, ...]
    age_scale: tuple[float, float] | None  # mean and deviation, years
    positive_weights: np.ndarray  # float32 [n]

    def classifier(self, network: nnx.Module) -> Classifier:
        """The network as a classifier that is not calibrated."""
        return Classifier.of(network, targets=self.targets, size=self.size, age_scale=self.age_scale)


def train_step(
    state: states.TrainState,
    frozen: Mapping[str, jax.Array],
    batch: Mapping[str, jax.Array],
    key: jax.Array,
    *,
    graphdef: nnx.GraphDef,
    task: Task,
    objective: ClassifierObjective,
    augmentation: Augmentation,
    update: Callable,
) -> tuple[states.TrainState, dict[str, jax.Array]]:
    """One step on `batch` as classifier.data.stream makes it; `frozen` holds "positive" [n] and "age" [2]."""
    keys = lambda name: rng.per_example(rng.at_step(rng.stream(key, name), state.step), batch["id"])
    images = augment(batch["image"], keys, augmentation)  # [b, h, w, 1]
    n = len(task.targets)

    def loss_of(params):
        network = nnx.merge(graphdef, params)
        outputs = network(network.config.input_range * resized(images, task.size))  # [b, n], and the age behind
        labels = label_loss(outputs[:, :n], batch["labels"], frozen["positive"], batch["weight"])
        if task.age_scale is None:
            return labels, {}
        age = age_loss(outputs[:, n], (batch["age"] - frozen["age"][0]) / frozen["age"][1], batch["weight"])
        return labels + objective.age_weight * age, {"label_loss": labels, "age_loss": age}

    (loss, parts), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    state, updated = update(state, loss, grads)
    return state, {"loss": loss, **parts, **updated}


def label_loss(logits: jax.Array, labels: jax.Array, positive: jax.Array, weight: jax.Array) -> jax.Array:
    """Binary cross-entropy [] of logits [b, n], a weighted mean over the `labels` [b, n] that are not NaN.

    Positive examples of a target weigh `positive` [n], negative ones 1, and both `weight` [b] times that.
    """
    is_known = ~jnp.isnan(labels)
    labels = jnp.where(is_known, labels, 0.0)
    losses = optax.sigmoid_binary_cross_entropy(logits, labels)
    weights = is_known * jnp.where(labels > 0.5, positive[None], 1.0) * weight[:, None]
    return jnp.sum(weights * losses) / jnp.maximum(jnp.sum(weights), 1e-6)


def age_loss(predicted: jax.Array, ages: jax.Array, weight: jax.Array) -> jax.Array:
    """Squared error [] of standardised ages [b], a weighted mean over those that are not NaN."""
    weights = ~jnp.isnan(ages) * weight
    return jnp.sum(weights * (predicted - jnp.nan_to_num(ages)) ** 2) / jnp.maximum(jnp.sum(weights), 1e-6)


def predict_fn(
    graphdef: nnx.GraphDef, task: Task, batch_size: int, mesh: Mesh
) -> Callable[[Any, np.ndarray], Prediction]:
    """`predict(params, images)`: uncalibrated predictions for uint8 images [n, h, w]."""
    forward = lambda params, images: task.classifier(nnx.merge(graphdef, params)).predict(to_float(images))
    return predict_over_mesh(forward, batch_size, mesh)
