"""The training step of Stable Diffusion: predict the noise in a noisy latent, given a caption."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from prism_jax import rng
from prism_jax.diffusion.losses import denoising_loss
from train import state as states

Latents = Callable[[Mapping[str, nnx.Module], Mapping[str, jax.Array]], jax.Array]
"""`(networks, batch) -> clean scaled latents [b, h, w, 4]`."""


def train_step(
    state: states.TrainState,
    frozen: Mapping[str, Any],
    batch: Mapping[str, jax.Array],
    key: jax.Array,
    *,
    graphdefs: Mapping[str, nnx.GraphDef],
    latents_of: Latents,
    caption_dropout: float,
    update: Callable,
) -> tuple[states.TrainState, dict[str, jax.Array]]:
    """One step on `batch`: "tokens" int32 [b, 77], "id" uint32 [b], and what `latents_of` reads.

    Args:
      state: its params are {"unet": ...}, with "text_encoder" where that is trained too.
      frozen: "networks", the parameters of those not trained; "schedule"; "no_caption", the tokens of "" [77].
      graphdefs: the structure of every network by name.
      caption_dropout: share of examples that see the empty prompt, for classifier-free guidance.
    """
    keys = lambda name: rng.per_example(rng.at_step(rng.stream(key, name), state.step), batch["id"])
    tokens = drop_captions(batch["tokens"], frozen["no_caption"], keys("caption dropout"), caption_dropout)

    def objective(params):
        merged = {**frozen["networks"], **params}
        networks = {name: nnx.merge(graphdefs[name], merged[name]) for name in merged}
        latents = latents_of(networks, batch)  # [b, h, w, 4]
        noise, timesteps = draw(keys, latents.shape[1:], len(frozen["schedule"].alphas_cumprod))
        context = networks["text_encoder"](tokens)  # [b, 77, d]
        predict = lambda noisy, t: networks["unet"](noisy, t, context)
        return denoising_loss(predict, frozen["schedule"], latents, noise, timesteps)[0]

    loss, grads = jax.value_and_grad(objective)(state.params)
    state, metrics = update(state, grads)
    return state, {"loss": loss, **metrics}


def drop_captions(tokens: jax.Array, empty: jax.Array, keys: jax.Array, share: float) -> jax.Array:
    """`tokens` [b, 77] with a random `share` of rows replaced by `empty` [77]; keys [b]."""
    dropped = jax.vmap(lambda k: jax.random.bernoulli(k, share))(keys)  # [b]
    return jnp.where(dropped[:, None], empty[None], tokens)


def draw(keys: Callable[[str], jax.Array], shape: tuple[int, ...], count: int) -> tuple[jax.Array, jax.Array]:
    """Standard normal noise [b, *shape] and timesteps int32 [b] in [0, count), by the examples' own keys."""
    noise = jax.vmap(lambda k: jax.random.normal(k, shape))(keys("noise"))
    timesteps = jax.vmap(lambda k: jax.random.randint(k, (), 0, count))(keys("timestep"))
    return noise, timesteps


def encoded(networks: Mapping[str, nnx.Module], batch: Mapping[str, jax.Array]) -> jax.Array:
    """Latents of batch["image"], float32 [b, h, w, 3] in [-1, 1]: the posterior mean, scaled. No gradient."""
    vae = networks["vae"]
    return jax.lax.stop_gradient(vae.encode(batch["image"])[0]) * vae.config.scaling_factor


def stored(networks: Mapping[str, nnx.Module], batch: Mapping[str, jax.Array]) -> jax.Array:
    """Latents that were encoded before training."""
    del networks
    return batch["latents"]
