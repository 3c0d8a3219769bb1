"""DDIM (Song et al. 2021, arXiv 2010.02502): the step, its inverse, and both loops as scans.

The step from alpha to alpha' is one formula in both directions: sampling goes to the cleaner side, inversion
to the noisier one, and given the same noise estimate the two undo each other exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from prism_jax.diffusion import schedule as schedule_lib
from prism_jax.diffusion.schedule import NoiseSchedule

PredictNoise = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""`(latents [b, h, w, c], t int32 [], step int32 []) -> raw network output [b, h, w, c]`."""


@struct.dataclass
class DDIMTable:
    """Scanned inputs of a DDIM loop, noisiest step first. A row (or a slice) has the same fields."""

    step: jax.Array  # int32 [t]: place in the sampling order, 0 is the noisiest
    t: jax.Array  # int32 [t]: timestep the network is evaluated at
    alpha: jax.Array  # float32 [t]: alpha of timestep t
    alpha_prev: jax.Array  # float32 [t]: alpha of the next cleaner timestep
    prediction_type: str = struct.field(pytree_node=False, default="epsilon")

    def flipped(self) -> DDIMTable:
        """The rows cleanest first, in the order of inversion; `step` keeps counting in the sampling order."""
        return jax.tree.map(lambda rows: rows[::-1], self)


def ddim_table(schedule: NoiseSchedule, steps: int) -> DDIMTable:
    """The rows of a run of `steps` steps. Raises ValueError when `steps` does not fit the schedule."""
    t = schedule_lib.timesteps(schedule.config, steps)
    # As in diffusers the previous timestep is this one less a fixed stride, whatever the spacing.
    previous = t - schedule.config.num_train_timesteps // steps
    alphas = schedule.alphas_cumprod
    alpha_prev = jnp.where(previous >= 0, alphas[np.maximum(previous, 0)], schedule.final_alpha_cumprod)
    return DDIMTable(
        step=jnp.arange(steps, dtype=jnp.int32),
        t=jnp.asarray(t),
        alpha=alphas[t],
        alpha_prev=alpha_prev,
        prediction_type=schedule.prediction_type,
    )


def move(latents: jax.Array, eps: jax.Array, alpha: jax.Array, alpha_to: jax.Array) -> jax.Array:
    """Float32 `latents` taken from `alpha` to `alpha_to` along the noise estimate `eps`; alphas [] or [b]."""
    clean = schedule_lib.to_clean(eps, latents, alpha, "epsilon")
    alpha_to = schedule_lib.expand(alpha_to, latents)
    return jnp.sqrt(alpha_to) * clean + jnp.sqrt(1 - alpha_to) * eps


def prev_step(latents: jax.Array, output: jax.Array, row: DDIMTable) -> jax.Array:
    """One cleaner step, latents at `row.t` -> latents before it; `output` as the network gave it."""
    output = output.astype(jnp.float32)
    eps = schedule_lib.to_epsilon(output, latents, row.alpha, row.prediction_type)
    return move(latents, eps, row.alpha, row.alpha_prev)


def next_step(latents: jax.Array, output: jax.Array, row: DDIMTable) -> jax.Array:
    """One noisier step, latents before `row.t` -> latents at it.

    Undoes `prev_step` on the same `output`. In an inversion `output` is the network's at `row.t` although
    `latents` are one step cleaner: the approximation that makes DDIM inversion inexact.
    """
    output = output.astype(jnp.float32)
    if row.prediction_type == "epsilon":
        return move(latents, output, row.alpha_prev, row.alpha)
    # With cos^2 = alpha, a v step is a rotation: x_prev = cos(d) x - sin(d) v, d the angle between the
    # alphas. Solved for x, v keeps the noise level it was predicted for. (diffusers' DDIMInverseScheduler
    # reads v at the alpha of the cleaner latents, which doubles the round-trip error on Gaussian data.)
    alpha, alpha_prev = schedule_lib.expand(row.alpha, latents), schedule_lib.expand(row.alpha_prev, latents)
    cos = jnp.sqrt(alpha * alpha_prev) + jnp.sqrt((1 - alpha) * (1 - alpha_prev))
    sin = jnp.sqrt((1 - alpha) * alpha_prev) - jnp.sqrt(alpha * (1 - alpha_prev))
    return (latents + sin * output) / cos


def stochastic_step(
    latents: jax.Array, output: jax.Array, row: DDIMTable, *, eta: jax.Array, noise: jax.Array
) -> jax.Array:
    """`prev_step` with fresh noise scaled by `eta` (0: DDIM, 1: DDPM; eq. 12 and 16).

    `noise` is standard normal, of the shape of `latents`.
    """
    output = output.astype(jnp.float32)
    eps = schedule_lib.to_epsilon(output, latents, row.alpha, row.prediction_type)
    clean = schedule_lib.to_clean(output, latents, row.alpha, row.prediction_type)
    alpha_prev, std = (schedule_lib.expand(x, latents) for x in (row.alpha_prev, eta * sigma(row)))
    return jnp.sqrt(alpha_prev) * clean + jnp.sqrt(1 - alpha_prev - std**2) * eps + std * noise


def sigma(row: DDIMTable) -> jax.Array:
    """Standard deviation of the fresh noise of a step with `eta` 1 (eq. 16), shaped as the row's fields."""
    return jnp.sqrt((1 - row.alpha_prev) / (1 - row.alpha) * (1 - row.alpha / row.alpha_prev))


def sample(
    predict_noise: PredictNoise,
    latents: jax.Array,  # [b, h, w, c] float32, at the first row's timestep
    table: DDIMTable,
) -> tuple[jax.Array, jax.Array]:
    """Denoises over all rows. Returns the clean latents and the latents after every step, [t, b, h, w, c].

    Under jit the second output costs nothing when it is not used.
    """

    def advance(latents: jax.Array, row: DDIMTable) -> tuple[jax.Array, jax.Array]:
        latents = prev_step(latents, predict_noise(latents, row.t, row.step), row)
        return latents, latents

    return jax.lax.scan(advance, latents.astype(jnp.float32), table)


def invert(predict_noise: PredictNoise, latents: jax.Array, table: DDIMTable) -> jax.Array:
    """DDIM inversion of clean `latents` [b, h, w, c]: all latents, [t + 1, b, h, w, c], cleanest first.

    `predict_noise` should be the conditional prediction alone: under stronger guidance inversion drifts off.
    """

    def advance(latents: jax.Array, row: DDIMTable) -> tuple[jax.Array, jax.Array]:
        latents = next_step(latents, predict_noise(latents, row.t, row.step), row)
        return latents, latents

    latents = latents.astype(jnp.float32)
    _, noisier = jax.lax.scan(advance, latents, table.flipped())
    return jnp.concatenate([latents[None], noisier])
