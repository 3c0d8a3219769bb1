"""DPM-Solver++ 2M (Lu et al. 2022, arXiv 2211.01095): second-order multistep sampling in few steps.

Agrees with diffusers' DPMSolverMultistepScheduler as Stable Diffusion uses it: algorithm "dpmsolver++", order
2, midpoint, final sigma zero; the first and the last step are of first order.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from prism_jax.diffusion import schedule as schedule_lib
from prism_jax.diffusion.ddim import PredictNoise
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig

_Carry = tuple[jax.Array, jax.Array]  # latents, and the clean latents predicted in the step before


@struct.dataclass
class DPMTable:
    """Scanned inputs of a DPM-Solver++ loop, noisiest step first.

    A step is `x <- keep x + take x_0 + bend (x_0 - x_0 of the step before)`, `x_0` the predicted clean
    latents.
    """

    step: jax.Array  # int32 [t]
    t: jax.Array  # int32 [t]: timestep the network is evaluated at
    alpha: jax.Array  # float32 [t]: alpha of timestep t
    keep: jax.Array  # float32 [t]
    take: jax.Array  # float32 [t]
    bend: jax.Array  # float32 [t]; 0 in the first and the last step
    prediction_type: str = struct.field(pytree_node=False, default="epsilon")


def dpm_timesteps(config: ScheduleConfig, steps: int) -> np.ndarray:
    """The timesteps of a run, int32 [steps], noisiest first: `steps + 1` points less the cleanest.

    Raises ValueError when `steps` does not fit the schedule.
    """
    schedule_lib.check_steps(config, steps)
    total = config.num_train_timesteps
    if config.timestep_spacing == "trailing":
        return schedule_lib.timesteps(config, steps)
    if config.timestep_spacing == "leading":
        timesteps = np.arange(steps, 0, -1) * (total // (steps + 1)) + config.steps_offset
    else:
        timesteps = np.round(np.linspace(0, total - 1, steps + 1))[:0:-1]
    return schedule_lib.check_timesteps(config, timesteps)


def sigmas(alphas: jax.Array) -> jax.Array:
    """Noise-to-signal ratios `sqrt((1 - alpha) / alpha)`, same shape."""
    return jnp.sqrt((1 - alphas) / alphas)


def dpm_table(schedule: NoiseSchedule, steps: int) -> DPMTable:
    """The rows of a run of `steps` steps. Raises ValueError when `steps` does not fit the schedule."""
    t = dpm_timesteps(schedule.config, steps)
    alpha = schedule.alphas_cumprod[t]
    sigma = sigmas(alpha)  # [t]
    sigma_next = jnp.append(sigma[1:], 0.0)
    scale, scale_next = jnp.sqrt(alpha), jnp.append(jnp.sqrt(alpha[1:]), 1.0)  # scale of x_0 in the latents
    ratio = sigma_next / sigma  # exp(-h), h the step in log(1 / sigma)
    take = scale_next * (1 - ratio)
    return DPMTable(
        step=jnp.arange(steps, dtype=jnp.int32),
        t=jnp.asarray(t),
        alpha=alpha,
        keep=ratio * scale_next / scale,
        take=take,
        bend=take * _half_inverse_r(sigma, sigma_next),
        prediction_type=schedule.prediction_type,
    )


def sample(predict_noise: PredictNoise, latents: jax.Array, table: DPMTable) -> tuple[jax.Array, jax.Array]:
    """Denoises over all rows. Returns the clean latents and the latents after every step, [t, b, h, w, c]."""

    def advance(carry: _Carry, row: DPMTable) -> tuple[_Carry, jax.Array]:
        latents, before = carry
        output = predict_noise(latents, row.t, row.step).astype(jnp.float32)
        clean = schedule_lib.to_clean(output, latents, row.alpha, row.prediction_type)
        latents = row.keep * latents + row.take * clean + row.bend * (clean - before)
        return (latents, clean), latents

    latents = latents.astype(jnp.float32)
    (latents, _), trajectory = jax.lax.scan(advance, (latents, jnp.zeros_like(latents)), table)
    return latents, trajectory


def _half_inverse_r(sigma: jax.Array, sigma_next: jax.Array) -> jax.Array:
    """`1 / (2 r)` [t], r the length of the step before over a step's own; 0 in the first and last."""
    h = jnp.log(sigma[:-1]) - jnp.log(sigma_next[:-1])  # every step but the last, which is infinitely long
    return jnp.concatenate([jnp.zeros(1), h[1:] / (2 * h[:-1]), jnp.zeros(1)])[: len(sigma)]
