"""VAE encoding of images: in a separate jitted program before each training step, or once, into a cache."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from prism_jax import rng
from prism_jax.training.finetune.step import DenoisingObjective, interleave


def encode(
    frozen: Mapping[str, Any],
    batch: Mapping[str, jax.Array],
    key: jax.Array,
    step: jax.Array,
    *,
    objective: DenoisingObjective,
    parts: int,
) -> dict[str, jax.Array]:
    """`batch` with its "image" [b, h, w, 1] in [-1, 1] encoded: "latents" float16 [b, h/8, w/8, 4], the scaled
    posterior mean, and "logvar" of the scaled posterior where the objective draws from it.

    float16 in both cases, so that training with and without the cache gives the same result. Its rounding error is far
    below the encoder's error.
    """
    vae = frozen["vae"]
    rest = {name: value for name, value in batch.items() if name != "image"}
    images = batch["image"]
    if objective.flip:
        keys = rng.per_example(rng.at_step(rng.stream(key, "flip"), step), batch["id"])
        is_flipped = jax.vmap(lambda k: jax.random.bernoulli(k, objective.flip))(keys)
        images = jnp.where(is_flipped[:, None, None, None], images[:, :, ::-1], images)

    def moments(images: jax.Array) -> tuple[jax.Array, jax.Array]:
        return vae.encode(jnp.broadcast_to(images, (*images.shape[:3], 3)))

    mean, logvar = jax.lax.map(moments, interleave(images, parts))
    whole = lambda x: x.swapaxes(0, 1).reshape(len(images), *x.shape[2:])
    rest["latents"] = (whole(mean) * vae.config.scaling_factor).astype(jnp.float16)
    if objective.sample_posterior:
        rest["logvar"] = (whole(logvar) + 2 * jnp.log(vae.config.scaling_factor)).astype(jnp.float16)
    return rest
