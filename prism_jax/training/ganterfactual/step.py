"""Training step of GANterfactual (Mertes et al. 2022, arXiv 2012.11905): pure functions.

Two generators translate between unpaired images without and with an attribute; discriminators distinguish their output
from real images, and a frozen classifier scores whether it has the intended attribute.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from prism_jax import rng
from prism_jax.classifier import Classifier
from prism_jax.models.cyclegan import CycleGANConfig, Discriminator, Discriminators, Generators
from prism_jax.pixels import from_uint8
from prism_jax.training import state as states
from prism_jax.training.ganterfactual.image_pool import Pool, exchanged

Batch = Mapping[str, jax.Array]  # as `ganterfactual_images.UnpairedBatches` has it
Images = Mapping[str, jax.Array]  # float32 [b, h, w, c] in [-1, 1], "absent" and "present": of what kind they are
HAS = {"absent": 0.0, "present": 1.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GANterfactualObjective:
    """Weights of the generators' losses beside the adversarial one, which has 1; each is the sum of both ways."""

    cycle: float = 10.0
    """Cycle loss: mean absolute error of an image translated there and back."""
    identity: float = 1.0
    """Identity loss: mean absolute error of the output for an image that already is of the generator's target kind."""
    classifier: float = 1.0
    """Classifier loss: cross-entropy of the frozen classifier's prediction for translated images."""
    pool: int = 50
    """Size of the history buffer of translated images of each kind, for the discriminators."""

    def __post_init__(self) -> None:
        if min(self.cycle, self.identity, self.classifier) < 0 or self.pool < 1:
            raise ValueError(
                f"objective cycle {self.cycle}, identity {self.identity}, classifier {self.classifier}, pool "
                f"{self.pool}; use weights from 0 up, and a pool of 1 or more"
            )


@struct.dataclass
class GanState:
    """Everything a training step changes; a pytree."""

    generators: states.TrainState
    discriminators: states.TrainState
    pools: dict[str, Pool]  # generated images by kind


def create(
    initial: Mapping[str, Any], *, config: CycleGANConfig, pool: int, tx: optax.GradientTransformation
) -> GanState:
    """The state before the first step, of the parameters "generators" and "discriminators"."""
    shape = (pool, config.size, config.size, config.channels)
    return GanState(
        generators=states.create(initial["generators"], tx, ema=False),
        discriminators=states.create(initial["discriminators"], tx, ema=False),
        pools={kind: Pool(images=jnp.zeros(shape), count=jnp.int32(0)) for kind in HAS},
    )


def train_step(
    state: GanState,
    frozen: Classifier,
    batch: Batch,
    key: jax.Array,
    *,
    networks: Mapping[str, nnx.GraphDef],
    attribute: str,
    objective: GANterfactualObjective,
    update: Callable,
) -> tuple[GanState, dict[str, jax.Array]]:
    """One update of the generators, and one of the discriminators on the images generated before it.

    Args:
      networks: structure of "generators" and "discriminators", without their parameters.
    """
    real = {kind: from_uint8(batch[kind]) for kind in HAS}
    critics = nnx.merge(networks["discriminators"], state.discriminators.params)

    def of_generators(params):
        generators = nnx.merge(networks["generators"], params)
        return generator_loss(generators, critics, frozen, real, attribute=attribute, objective=objective)

    (loss, (parts, generated)), grads = jax.value_and_grad(of_generators, has_aux=True)(state.generators.params)
    shown, pools = {}, {}
    for side, kind in enumerate(HAS):
        keys = rng.per_example(
            rng.at_step(rng.stream(key, f"pool {kind}"), state.generators.step), batch["id"][:, side]
        )
        shown[kind], pools[kind] = exchanged(state.pools[kind], generated[kind], keys)

    def of_discriminators(params):
        return discriminator_loss(nnx.merge(networks["discriminators"], params), real, shown)

    (critic_loss, critic_parts), critic_grads = jax.value_and_grad(of_discriminators, has_aux=True)(
        state.discriminators.params
    )
    generators, metrics = update(state.generators, loss, grads)
    discriminators, others = update(state.discriminators, critic_loss, critic_grads)
    skipped = jnp.maximum(metrics["skipped"], others["skipped"])
    # A skipped batch changes neither the networks nor the pools.
    unchanged = GanState(
        generators=state.generators.replace(step=generators.step),
        discriminators=state.discriminators.replace(step=discriminators.step),
        pools=state.pools,
    )
    changed = GanState(generators=generators, discriminators=discriminators, pools=pools)
    kept = jax.tree.map(lambda new, old: jnp.where(skipped == 0, new, old), changed, unchanged)
    metrics |= {"discriminator_grad_norm": others["grad_norm"], "skipped": skipped}
    return kept, {"loss": loss, **parts, "discriminator": critic_loss, **critic_parts, **metrics}


def generator_loss(
    generators: Generators,
    discriminators: Discriminators,
    classifier: Classifier,
    real: Images,
    *,
    attribute: str,
    objective: GANterfactualObjective,
) -> tuple[jax.Array, tuple[dict[str, jax.Array], Images]]:
    """The loss [], its unweighted terms, and the generated images by the kind they were translated into.

    `real` are images of both kinds; they belong to different people.
    """
    absent, present = real["absent"], real["present"]
    added, still_present = _of_each(generators.add, absent, present)
    removed, still_absent = _of_each(generators.remove, present, absent)
    generated = {"present": added, "absent": removed}
    critics = {kind: getattr(discriminators, kind) for kind in HAS}
    parts = {
        "adversarial": sum(_squares(critics[kind](generated[kind]), 1.0) for kind in HAS),
        "cycle": cycle_loss(generators, real, generated),
        "identity": _mean_absolute_error(still_present, present) + _mean_absolute_error(still_absent, absent),
        "classifier": sum(classifier_loss(classifier, attribute, generated[kind], HAS[kind]) for kind in HAS),
    }
    weights = {"adversarial": 1.0} | {name: getattr(objective, name) for name in parts if name != "adversarial"}
    return sum(weights[name] * part for name, part in parts.items()), (parts, generated)


def cycle_loss(generators: Generators, real: Images, generated: Images) -> jax.Array:
    """Mean absolute error [] of images that were translated there and back, both ways."""
    return _mean_absolute_error(generators.remove(generated["present"]), real["absent"]) + _mean_absolute_error(
        generators.add(generated["absent"]), real["present"]
    )


def classifier_loss(classifier: Classifier, attribute: str, images: jax.Array, has: float) -> jax.Array:
    """Cross-entropy [], nats: the mean over `images` of -log p(they have the attribute, or have it not)."""
    logits = attribute_logits(classifier, attribute, images)
    return optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, has)).mean()


def attribute_logits(classifier: Classifier, attribute: str, images: jax.Array) -> jax.Array:
    """The classifier's logits [b] of the attribute in grey `images` [b, h, w, 1]."""
    colour = jnp.repeat(images, 3, axis=-1)
    return classifier.predict(colour).logits[:, classifier.column(attribute)]


def discriminator_loss(
    discriminators: Discriminators, real: Images, shown: Images
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Least-squares loss [] (Mao et al. 2017), and its term of each kind: real images are 1, generated ones 0."""
    each = {kind: _least_squares(getattr(discriminators, kind), real[kind], shown[kind]) for kind in HAS}
    return sum(each.values()), {f"discriminator_{kind}": loss for kind, loss in each.items()}


def _least_squares(discriminator: Discriminator, real: jax.Array, made: jax.Array) -> jax.Array:
    of_real, of_made = _of_each(discriminator, real, made)
    return (_squares(of_real, 1.0) + _squares(of_made, 0.0)) / 2


def _of_each(network: Callable, *batches: jax.Array) -> list[jax.Array]:
    """The network's outputs for several batches [b, h, w, c], computed as one batch: half the program to compile.

    Images are interleaved: concatenated batches would have to be exchanged between devices.
    """
    together = jnp.stack(batches, axis=1)  # [b, n, h, w, c]
    outputs = network(together.reshape(-1, *together.shape[2:]))
    outputs = outputs.reshape(*together.shape[:2], *outputs.shape[1:])
    return [outputs[:, i] for i in range(len(batches))]


def _squares(outputs: jax.Array, target: float) -> jax.Array:
    return jnp.mean(jnp.square(outputs - target))


def _mean_absolute_error(images: jax.Array, others: jax.Array) -> jax.Array:
    return jnp.mean(jnp.abs(images - others))
