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
) -> jax.Array:
    """Mean squared error of each example to the schedule's training target (eps or v), float32 `[b]`."""
    latents, noise = latents.astype(jnp.float32), noise.astype(jnp.float32)
    noisy = schedule_lib.add_noise(schedule, latents, noise, timesteps)
    target = schedule_lib.training_target(schedule, latents, noise, timesteps)
    error = (predict(noisy, timesteps).astype(jnp.float32) - target) ** 2  # [b, h, w, c]
    return jnp.mean(error, tuple(range(1, error.ndim)))


def min_snr_weights(schedule: NoiseSchedule, timesteps: jax.Array, gamma: float) -> jax.Array:
    """Weights [b] of the losses at `timesteps`: min(SNR, gamma) in units of the loss of the clean latents.

    Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy", arXiv 2303.09556, section 3.4: for
    a network that predicts noise min(SNR, gamma) / SNR, for one that predicts v min(SNR, gamma) / (SNR + 1).
    """
    ratio = schedule_lib.snr(schedule, timesteps)
    unit = ratio if schedule.prediction_type == "epsilon" else ratio + 1
    return jnp.minimum(ratio, gamma) / unit
