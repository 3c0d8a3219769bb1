"""Training loss of a denoising network."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from prism_jax.diffusion import schedule as schedule_lib
from prism_jax.diffusion.schedule import NoiseSchedule

Denoiser = Callable[[jax.Array, jax.Array], jax.Array]
"""`(noisy latents [b, h, w, c], timesteps int32 [b]) -> raw output [b, h, w, c]`."""


def denoising_loss(
    predict: Denoiser,
    schedule: NoiseSchedule,
    latents: jax.Array,  # [b, h, w, c] clean
    noise: jax.Array,  # [b, h, w, c] standard normal
    timesteps: jax.Array,  # int32 [b]
    *,
    weights: jax.Array | None = None,
    mask: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Mean squared error to the schedule's training target (eps or v): float32 `(loss [], per_example [b])`.

    `mask` ([b, h, w, c], or with axes of length 1) selects the latents that count; an example
    whose mask is empty has loss 0. `weights` [b], not negative, average the examples: 0 leaves one out
    (padding), and all 0 give 0.
    """
    latents, noise = latents.astype(jnp.float32), noise.astype(jnp.float32)
    noisy = schedule_lib.add_noise(schedule, latents, noise, timesteps)
    target = schedule_lib.training_target(schedule, latents, noise, timesteps)
    error = (predict(noisy, timesteps).astype(jnp.float32) - target) ** 2  # [b, h, w, c]
    axes = tuple(range(1, error.ndim))
    if mask is None:
        per_example = jnp.mean(error, axes)
    elif mask.ndim != error.ndim:  # broadcasting would line up the wrong axes
        raise ValueError(f"mask has the shape {mask.shape} for latents {error.shape}; use the same number of axes")
    else:
        per_example = weighted_mean(error, jnp.broadcast_to(mask, error.shape), axes)
    loss = jnp.mean(per_example) if weights is None else weighted_mean(per_example, weights, (0,))
    return loss, per_example


def min_snr_weights(schedule: NoiseSchedule, timesteps: jax.Array, gamma: float) -> jax.Array:
    """Weights [b] of the losses at `timesteps`: min(SNR, gamma) in units of the loss of the clean latents.

    Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy", arXiv 2303.09556, section 3.4: for
    a network that predicts noise min(SNR, gamma) / SNR, for one that predicts v min(SNR, gamma) / (SNR + 1).
    """
    ratio = schedule_lib.snr(schedule, timesteps)
    unit = ratio if schedule.prediction_type == "epsilon" else ratio + 1
    return jnp.minimum(ratio, gamma) / unit


def weighted_mean(values: jax.Array, weights: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Mean of `values` over `axes` by `weights` of the same shape; 0 where the weights sum to 0."""
    weights = weights.astype(jnp.float32)
    total = jnp.sum(weights, axes)
    # The where is on the divisor: 0 / 0 in a branch not taken would still make the gradient NaN.
    return jnp.sum(values * weights, axes) / jnp.where(total > 0, total, 1.0)
