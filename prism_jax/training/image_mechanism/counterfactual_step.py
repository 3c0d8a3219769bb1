"""Training step of counterfactual fine-tuning: pure functions (arXiv 2306.15764, section 3.3).

Attribute mechanisms and predictors are frozen. The image mechanism is trained so that the predictors find the intended
attributes in its counterfactuals, subject to a limit on its free energy.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from prism_jax import rng
from prism_jax.models.hvae import HVAE
from prism_jax.pixels import from_uint8
from prism_jax.scm import auxiliary, elbo, image_mechanism, predictions
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.graph import Attributes
from prism_jax.training import observed_images
from prism_jax.training import state as states

Batch = Mapping[str, jax.Array]  # as `Observed.arrays` has it


@dataclasses.dataclass(frozen=True, kw_only=True)
class CounterfactualObjective:
    """Objective: the auxiliary loss, subject to nll + beta KL <= limit."""

    targets: Literal["hard", "soft"] = "hard"
    """Targets of attributes that were not intervened on: their values (De Sousa Ribeiro et al. 2023), which amplifies
    them, or the predictions for the factual image (Xia et al. 2024)."""
    beta: float = 1.0
    """As the image mechanism was trained with."""
    limit: float | None = None
    """Nats per dimension; None: the free energy of the validation images before training, and `slack` more."""
    slack: float = 0.0
    """Nats per dimension. If training cannot meet the limit, the multiplier grows until all batches are skipped."""
    damping: float = 100.0
    """Weight of the quadratic penalty beyond the limit."""
    alpha: float = 0.5
    """Weight of the posterior where latents mediate."""

    def __post_init__(self) -> None:
        if min(self.beta, self.damping, self.slack) < 0 or not 0 <= self.alpha <= 1:
            raise ValueError(
                f"objective beta {self.beta}, damping {self.damping}, slack {self.slack}, alpha {self.alpha}; use "
                "numbers from 0 up, and alpha in [0, 1]"
            )


@struct.dataclass
class Judged:
    """Frozen models and numbers that the step reads."""

    mechanisms: AttributeModel
    predictor: Any  # all numbers of the predictors, nested
    limit: jax.Array  # float32 []


@struct.dataclass
class CounterfactualState:
    """Everything a training step changes; a pytree."""

    image: states.TrainState
    multiplier: jax.Array  # float32 [], at least 0
    ascent: optax.OptState  # of the multiplier


def create(
    params: Any, *, tx: optax.GradientTransformation, ascent: optax.GradientTransformation
) -> CounterfactualState:
    """The state before the first step: the multiplier is 0."""
    zero = jnp.float32(0)
    return CounterfactualState(image=states.create(params, tx, ema=True), multiplier=zero, ascent=ascent.init(zero))


def train_step(
    state: CounterfactualState,
    frozen: Judged,
    batch: Batch,
    key: jax.Array,
    *,
    networks: Mapping[str, nnx.GraphDef],
    objective: CounterfactualObjective,
    shift: int,
    update: Callable,
    ascent: optax.GradientTransformation,
) -> tuple[CounterfactualState, dict[str, jax.Array]]:
    """One step: one attribute, drawn evenly, is set to its values in the batch in another order.

    Args:
      networks: structure of the "image" mechanism and the "predictor", without their parameters.
    """
    at_step = lambda name: rng.at_step(rng.stream(key, name), state.image.step)
    keys = lambda name: rng.per_example(at_step(name), batch["id"])
    graph = frozen.mechanisms.graph
    x = observed_images.random_shift(from_uint8(batch["image"]), keys("shift"), shift)
    attributes = {name: batch[name] for name in graph.names}
    given, chosen = auxiliary.random_intervention(graph, attributes, at_step("intervention"))
    targets = frozen.mechanisms.intervene(
        attributes, given, chosen, frozen.mechanisms.abduct(attributes, keys("attributes"))
    )
    judge = judged_by(frozen, networks, x, attributes, targets, frozen.mechanisms.affected(chosen), objective)

    def loss_of(params):
        model = nnx.merge(networks["image"], params)
        images, nll, kl = imagined(model, x, batch["parents"], graph.parents_vector(targets), keys, objective.alpha)
        shown, energy = judge(images), nll.mean() + objective.beta * kl.mean()
        options = dict(limit=frozen.limit, damping=objective.damping)
        loss = auxiliary.lagrangian(shown, energy, state.multiplier, **options)
        return loss, {"auxiliary": shown, "free_energy": energy, "nll": nll.mean(), "kl": kl.mean()}

    (loss, parts), grads = jax.value_and_grad(loss_of, has_aux=True)(state.image.params)
    image, metrics = update(state.image, loss, grads)
    raised = auxiliary.raised(state.multiplier, parts["free_energy"] - frozen.limit, state.ascent, ascent)
    # A skipped batch changes neither the parameters nor the multiplier.
    keep = lambda new, old: jnp.where(metrics["skipped"] == 0, new, old)
    multiplier, climbed = jax.tree.map(keep, raised, (state.multiplier, state.ascent))
    changed = CounterfactualState(image=image, multiplier=multiplier, ascent=climbed)
    return changed, {"loss": loss, **parts, "multiplier": multiplier, **metrics}


def judged_by(
    frozen: Judged,
    networks: Mapping[str, nnx.GraphDef],
    x: jax.Array,
    attributes: Attributes,
    targets: Attributes,
    affected: Mapping[str, jax.Array],
    objective: CounterfactualObjective,
) -> Callable[[jax.Array], jax.Array]:
    """images -> auxiliary loss [], for counterfactuals of `x` whose intended attributes are `targets` [b].

    `affected`: what was set, and what is below it, as `AttributeModel.affected` has it.
    """
    graph, predictor = frozen.mechanisms.graph, nnx.merge(networks["predictor"], frozen.predictor)

    def judge(images: jax.Array) -> jax.Array:
        outputs = predictions.read(predictor, graph, images, targets)
        if objective.targets == "hard":
            return auxiliary.hard_loss(graph, outputs, targets)
        factual = predictions.read(predictor, graph, x, attributes)
        return auxiliary.soft_loss(graph, outputs, targets, factual, affected)

    return judge


def imagined(
    model: HVAE,
    x: jax.Array,
    parents: jax.Array,
    changed: jax.Array,
    keys: Callable[[str], jax.Array],
    alpha: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Counterfactuals [b, h, w, c] of `x` with `parents` under the parents `changed` [b, p]; nll and KL [b] of `x`.

    All noise has scale 1; `keys(name)` gives a key for each image. One decoder pass gives both the free energy and the
    noise of the image, so the prior is given all parents: none is dropped, unlike in the preceding training.
    """
    drawn = elbo.draw(model.config, keys("posterior"))
    descent = model.infer(x, parents, drawn)
    uniform = elbo.dequantised(model.config, keys("uniform"), x)
    nll = elbo.negative_log_likelihood(model, descent.state, x, uniform)
    kl, _ = elbo.divergence(descent, x[0].size)
    noise = image_mechanism.left_over(model, descent, x, drawn, 1.0)
    if model.config.conditional_prior:
        noise = image_mechanism.mediate(model, noise, changed, elbo.draw(model.config, keys("prior")), alpha=alpha)
    return image_mechanism.predict(model, noise, changed, t_u=1.0), nll, kl
