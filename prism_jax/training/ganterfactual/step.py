"""One step of GANterfactual training (Mertes et al. 2022, arXiv 2012.11905): pure functions.

Two generators translate between unpaired images without and with an attribute; discriminators tell what they make from
real images of that kind, and a frozen classifier is asked whether it shows what it was made to show.
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
    """Mean absolute error of an image that was translated there and back."""
    identity: float = 1.0
    """Mean absolute error of an image that a generator had nothing to do on: it is what it makes others into."""
    classifier: float = 1.0
    """Cross-entropy of what the frozen classifier says of translated images."""
    pool: int = 50
    """Translated images of each kind that discriminators may be shown again."""

    def __post_init__(self) -> None:
        if min(self.cycle, self.identity, self.classifier) < 0 or self.pool < 1:
            raise ValueError(
                f"objective cycle {self.cycle}, identity {self.identity}, classifier {self.classifier}, pool "
                f"{self.pool}; use weights from 0 up, and a pool of 1 or more"
            )


@struct.dataclass
class GanState:
    """All that changes during training; a pytree."""

    generators: states.TrainState
    discriminators: states.TrainState
    pools: dict[str, Pool]  # by kind, of what was made


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """What the networks are made of, beside their numbers."""

    generators: nnx.GraphDef
    discriminators: nnx.GraphDef


def create(
    initial: Mapping[str, Any], *, config: CycleGANConfig, pool: int, tx: optax.GradientTransformation
) -> GanState:
    """The state before the first step, of the parameters "generators" and "discriminators"."""
    shape = (config.size, config.size, config.channels)
    return GanState(
        generators=states.create(initial["generators"], tx, ema=False),
        discriminators=states.create(initial["discriminators"], tx, ema=False),
        pools={kind: Pool.empty(pool, shape) for kind in HAS},
    )


def train_step(
    state: GanState,
    frozen: Classifier,
    batch: Batch,
    key: jax.Array,
    *,
    networks: Networks,
    attribute: str,
    objective: GANterfactualObjective,
    update: Callable,
) -> tuple[GanState, dict[str, jax.Array]]:
    """One update of the generators, and one of the discriminators on what the generators made before it."""
    real = {kind: from_uint8(batch[kind]) for kind in HAS}
    critics = nnx.merge(networks.discriminators, state.discriminators.params)

    def of_generators(params):
        generators = nnx.merge(networks.generators, params)
        return generator_loss(generators, critics, frozen, real, attribute=attribute, objective=objective)

    (loss, (parts, made)), grads = jax.value_and_grad(of_generators, has_aux=True)(state.generators.params)
    shown, pools = {}, {}
    for side, kind in enumerate(HAS):
        keys = rng.per_example(
            rng.at_step(rng.stream(key, f"pool {kind}"), state.generators.step), batch["id"][:, side]
        )
        shown[kind], pools[kind] = exchanged(state.pools[kind], made[kind], keys)

    def of_discriminators(params):
        return discriminator_loss(nnx.merge(networks.discriminators, params), real, shown)

    (critical, told), steepness = jax.value_and_grad(of_discriminators, has_aux=True)(state.discriminators.params)
    generators, metrics = update(state.generators, loss, grads)
    discriminators, others = update(state.discriminators, critical, steepness)
    skipped = jnp.maximum(metrics["skipped"], others["skipped"])
    # A batch that is left out moves nothing: neither the other networks nor the pools.
    unchanged = GanState(
        generators=state.generators.replace(step=generators.step),
        discriminators=state.discriminators.replace(step=discriminators.step),
        pools=state.pools,
    )
    changed = GanState(generators=generators, discriminators=discriminators, pools=pools)
    kept = jax.tree.map(lambda new, old: jnp.where(skipped == 0, new, old), changed, unchanged)
    metrics |= {"discriminator_grad_norm": others["grad_norm"], "skipped": skipped}
    return kept, {"loss": loss, **parts, "discriminator": critical, **told, **metrics}


def generator_loss(
    generators: Generators,
    discriminators: Discriminators,
    classifier: Classifier,
    real: Images,
    *,
    attribute: str,
    objective: GANterfactualObjective,
) -> tuple[jax.Array, tuple[dict[str, jax.Array], Images]]:
    """The loss [], its parts before they are weighed, and what was made, by the kind that it was made into.

    `real` are images of both kinds; they belong to different people.
    """
    absent, present = real["absent"], real["present"]
    added, still_present = _of_each(generators.add, absent, present)
    removed, still_absent = _of_each(generators.remove, present, absent)
    made = {"present": added, "absent": removed}
    critics = {kind: getattr(discriminators, kind) for kind in HAS}
    parts = {
        "adversarial": sum(_squares(critics[kind](made[kind]), 1.0) for kind in HAS),
        "cycle": cycle_loss(generators, real, made),
        "identity": _apart(still_present, present) + _apart(still_absent, absent),
        "classifier": sum(classifier_loss(classifier, attribute, made[kind], HAS[kind]) for kind in HAS),
    }
    weights = {"adversarial": 1.0} | {name: getattr(objective, name) for name in parts if name != "adversarial"}
    return sum(weights[name] * part for name, part in parts.items()), (parts, made)


def cycle_loss(generators: Generators, real: Images, made: Images) -> jax.Array:
    """Mean absolute error [] of images that were translated there and back, both ways."""
    return _apart(generators.remove(made["present"]), real["absent"]) + _apart(
        generators.add(made["absent"]), real["present"]
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
    """Least squares (Mao et al. 2017): real images are to give 1, made ones 0. The loss [], and each side's part."""
    each = {kind: _told_apart(getattr(discriminators, kind), real[kind], shown[kind]) for kind in HAS}
    return sum(each.values()), {f"discriminator_{kind}": loss for kind, loss in each.items()}


def _told_apart(discriminator: Discriminator, real: jax.Array, made: jax.Array) -> jax.Array:
    of_real, of_made = _of_each(discriminator, real, made)
    return (_squares(of_real, 1.0) + _squares(of_made, 0.0)) / 2


def _of_each(network: Callable, *batches: jax.Array) -> list[jax.Array]:
    """What the network gives for each of several batches [b, h, w, c], as one: half the program to compile.

    Side by side, image by image: one after the other, devices would have to exchange theirs.
    """
    together = jnp.stack(batches, axis=1)  # [b, n, h, w, c]
    found = network(together.reshape(-1, *together.shape[2:]))
    found = found.reshape(*together.shape[:2], *found.shape[1:])
    return [found[:, i] for i in range(len(batches))]


def _squares(found: jax.Array, wanted: float) -> jax.Array:
    return jnp.mean(jnp.square(found - wanted))


def _apart(images: jax.Array, others: jax.Array) -> jax.Array:
    return jnp.mean(jnp.abs(images - others))
