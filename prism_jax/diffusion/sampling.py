"""Sampling: classifier-free guidance, initial noise, and one function for all samplers."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from prism_jax.diffusion import ddim, dpm_solver
from prism_jax.diffusion.ddim import PredictNoise
from prism_jax.diffusion.schedule import NoiseSchedule, expand

SAMPLERS = ("ddim", "dpm_solver")

Network = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""`(latents [n, h, w, c], t int32 [], context [n, k, d]) -> raw output [n, h, w, c]`."""


def conditional(predict: Network, context: jax.Array) -> PredictNoise:
    """The plain prediction for `context` [b, k, d], without guidance."""
    return lambda latents, t, step: predict(latents, t, context)


def guided(
    predict: Network,
    context: jax.Array,  # [b, k, d]
    null_context: jax.Array,  # [b, k, d], or [t, b, k, d] with one row per step
    guidance: jax.Array | float,  # [] or [b]
) -> PredictNoise:
    """Classifier-free guidance (arXiv 2207.12598): `null + guidance (conditional - null)`.

    The network runs once on a batch of 2 b, null half first. `guidance` may be traced, so that a new value
    does not recompile.
    """
    per_step = null_context.ndim == context.ndim + 1
    guidance = jnp.asarray(guidance, jnp.float32)

    def predict_noise(latents: jax.Array, t: jax.Array, step: jax.Array) -> jax.Array:
        null = null_context[step] if per_step else null_context
        twice = jnp.concatenate([latents, latents])  # [2b, h, w, c]
        outputs = predict(twice, t, jnp.concatenate([null, context]))
        return combine(*jnp.split(outputs, 2), guidance)

    return predict_noise


def combine(null: jax.Array, conditional: jax.Array, guidance: jax.Array) -> jax.Array:
    """`null + guidance (conditional - null)` in float32; outputs [b, ...], guidance [], [b] or of as many axes."""
    null, conditional = null.astype(jnp.float32), conditional.astype(jnp.float32)
    return null + expand(guidance, null) * (conditional - null)


def initial_latents(key: jax.Array, ids: jax.Array, shape: tuple[int, int, int]) -> jax.Array:
    """Standard normal latents [b, h, w, c] for `ids` int [b]: an id gives the same ones in any batch."""
    return jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), shape))(ids)


def sample(
    predict_noise: PredictNoise,
    latents: jax.Array,  # [b, h, w, c], pure noise
    schedule: NoiseSchedule,
    *,
    steps: int,
    sampler: str = "ddim",
) -> jax.Array:
    """Clean float32 latents [b, h, w, c]; ValueError for an unknown sampler or steps that do not fit."""
    if sampler == "ddim":
        return ddim.sample(predict_noise, latents, ddim.ddim_table(schedule, steps))[0]
    if sampler == "dpm_solver":
        return dpm_solver.sample(predict_noise, latents, dpm_solver.dpm_table(schedule, steps))[0]
    raise ValueError(f"sampler {sampler!r} is not known; use one of {', '.join(SAMPLERS)}")
