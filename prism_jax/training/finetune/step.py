"""The training step of Stable Diffusion: predict the noise in a noisy latent, given a caption."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from prism_jax import rng, sharding
from prism_jax.diffusion.losses import denoising_loss, min_snr_weights
from prism_jax.diffusion.schedule import NoiseSchedule
from prism_jax.training import state as states
from prism_jax.training.log import Mean

STREAMS = ("caption dropout", "posterior", "noise", "noise offset", "timestep")
NOISE_LEVELS = 4  # equal ranges of timesteps, whose losses are logged separately


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenoisingObjective:
    """Options of the denoising loss, whose target (noise or v) the schedule sets."""

    caption_dropout: float = 0.1
    """Fraction of examples trained with the empty prompt, for classifier-free guidance."""
    min_snr: float | None = None
    """Min-SNR weighting of the loss with this gamma (Hang et al. 2023, arXiv 2303.09556, use 5); None: no weighting."""
    noise_offset: float = 0.0
    """Standard deviation of offset noise, constant over each channel, which helps to learn overall brightness."""
    sample_posterior: bool = False
    """Draw latents from the encoder's posterior, instead of taking its mean."""
    flip: float = 0.0
    """Fraction of images that are mirrored. 0 by default: anatomy is not symmetric."""

    def __post_init__(self) -> None:
        for name in ("caption_dropout", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.min_snr is not None and self.min_snr <= 0:
            raise ValueError(f"min_snr must be above 0, or None to weight all timesteps equally, got {self.min_snr}")


def train_step(
    state: states.TrainState,
    frozen: Mapping[str, Any],
    batch: Mapping[str, jax.Array],
    key: jax.Array,
    *,
    graphdefs: Mapping[str, nnx.GraphDef],
    weights_of: Callable[[Any, Any], Mapping[str, Any]],
    objective: DenoisingObjective,
    parts: int,
    mesh: Mesh,
    specs: Any,
    update: Callable,
) -> tuple[states.TrainState, dict[str, jax.Array | Mean]]:
    """One step on `batch`: "latents" [b, h, w, 4] (scaled mean), "logvar" if drawn from, "tokens" int32 [b, 77],
    "id" uint32 [b], "weight" float32 [b].

    Each device computes the gradient of its own examples with whole parameters (ZeRO): sharded parameters are gathered
    once, gradients are reduce-scattered once, and only a few scalars are communicated besides.

    Args:
      frozen: "networks", the parameters of those not trained; "schedule"; "no_caption", the tokens of "" [77].
      graphdefs: the structure of every network by name.
      weights_of: (state.params, frozen["networks"]) -> all parameters by network.
      parts: gradient accumulation steps; the gradients of the parts are added before they are reduced over devices.
      specs: sharding specs of state.params.
    """
    at_step = lambda name: rng.at_step(rng.stream(key, name), state.step)
    keys = {name: at_step(name) for name in STREAMS}

    def own_part(params: Any, frozen: Any, batch: dict[str, jax.Array], keys: dict[str, jax.Array]) -> tuple:
        total = jax.lax.psum(jnp.sum(batch["weight"]), sharding.AXES)

        def loss_of(params: Any, part: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, Mean]]:
            weights = weights_of(params, frozen["networks"])
            networks = {name: nnx.merge(graphdefs[name], weights[name]) for name in ("unet", "text_encoder")}
            own_keys = lambda name: rng.per_example(keys[name], part["id"])
            losses, timesteps = example_losses(networks, frozen, part, own_keys, objective)
            weighted = losses * part["weight"]
            return jnp.sum(weighted) / total, losses_by_timestep(
                weighted, part["weight"], timesteps, frozen["schedule"]
            )

        differentiate = jax.value_and_grad(loss_of, has_aux=True)
        whole = sharding.all_gather_params(params, specs)
        measured, grads = accumulate_gradients(lambda part: differentiate(whole, part), batch, parts)
        return jax.lax.psum(measured, sharding.AXES), sharding.reduce_scatter_grads(grads, specs)

    inputs = (specs, sharding.REPLICATED, sharding.BATCH, sharding.REPLICATED)
    on_each = sharding.shard_map_over_batch(own_part, mesh, inputs, (sharding.REPLICATED, specs))
    (loss, levels), grads = on_each(state.params, dict(frozen), dict(batch), keys)
    state, metrics = update(state, loss, grads)
    return state, {"loss": loss, **levels, **metrics}


def example_losses(
    networks: Mapping[str, nnx.Module],
    frozen: Mapping[str, Any],
    batch: Mapping[str, jax.Array],
    keys: Callable[[str], jax.Array],
    objective: DenoisingObjective,
) -> tuple[jax.Array, jax.Array]:
    """Loss and timestep of every example, each [b]; `keys(stream)` gives the examples' own keys [b]."""
    schedule = frozen["schedule"]
    tokens = drop_captions(batch["tokens"], frozen["no_caption"], keys("caption dropout"), objective.caption_dropout)
    latents = batch["latents"].astype(jnp.float32)  # [b, h, w, 4]
    if "logvar" in batch:
        latents = latents + jnp.exp(0.5 * batch["logvar"].astype(jnp.float32)) * normal_like(keys("posterior"), latents)
    noise = normal_like(keys("noise"), latents)
    if objective.noise_offset:
        noise = noise + objective.noise_offset * normal_like(keys("noise offset"), latents[:, :1, :1])
    timesteps = jax.vmap(lambda k: jax.random.randint(k, (), 0, len(schedule.alphas_cumprod)))(keys("timestep"))
    context = networks["text_encoder"](tokens)  # [b, 77, d]
    predict = lambda noisy, t: networks["unet"](noisy, t, context)
    losses = denoising_loss(predict, schedule, latents, noise, timesteps)
    if objective.min_snr is not None:
        losses = losses * min_snr_weights(schedule, timesteps, objective.min_snr)
    return losses, timesteps


def accumulate_gradients(gradient: Callable, batch: Mapping[str, jax.Array], parts: int) -> Any:
    """The sum of what `gradient` gives for each of `parts` parts of a batch [b, ...]."""
    if parts == 1:
        return gradient(batch)
    pieces = jax.tree.map(lambda x: interleave(x, parts), batch)
    shapes = jax.eval_shape(gradient, jax.tree.map(lambda x: x[0], pieces))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    add = lambda sums, piece: (jax.tree.map(jnp.add, sums, gradient(piece)), None)
    return jax.lax.scan(add, zeros, pieces)[0]


def interleave(x: jax.Array, parts: int) -> jax.Array:
    """[b, ...] -> [parts, b / parts, ...], each part with as many rows of every device as of any other."""
    return x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)


def losses_by_timestep(
    losses: jax.Array, weights: jax.Array, timesteps: jax.Array, schedule: NoiseSchedule
) -> dict[str, Mean]:
    """Mean losses of equal parts of the timesteps, as `loss_t0_249` and so on."""
    count = len(schedule.alphas_cumprod)
    bounds = [count * i // NOISE_LEVELS for i in range(NOISE_LEVELS + 1)]
    means = {}
    for low, high in itertools.pairwise(bounds):
        is_in = ((timesteps >= low) & (timesteps < high)).astype(jnp.float32)
        means[f"loss_t{low}_{high - 1}"] = Mean(total=jnp.sum(losses * is_in), count=jnp.sum(weights * is_in))
    return means


def drop_captions(tokens: jax.Array, empty: jax.Array, keys: jax.Array, rate: float) -> jax.Array:
    """`tokens` [b, 77] with a random fraction `rate` of the rows replaced by `empty` [77]; keys [b]."""
    dropped = jax.vmap(lambda k: jax.random.bernoulli(k, rate))(keys)  # [b]
    return jnp.where(dropped[:, None], empty[None], tokens)


def normal_like(keys: jax.Array, like: jax.Array) -> jax.Array:
    """Standard normal noise of the shape of `like` [b, ...], each example's from its own of `keys` [b]."""
    return jax.vmap(lambda k: jax.random.normal(k, like.shape[1:]))(keys)
