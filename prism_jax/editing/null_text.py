"""Null-text inversion (Mokady et al. 2023, arXiv 2211.09794): DDIM inversion, and per step the empty-prompt embedding
under which guided sampling follows it back."""

import jax
import jax.numpy as jnp
import optax

from prism_jax.diffusion import ddim, sampling
from prism_jax.diffusion.ddim import DDIMTable

LEARNING_RATE = 1e-2  # of the first step; falls by a hundredth of it with every step
TOLERANCE_GROWTH = 2e-5  # how much more loss each later step may keep


def tune(
    predict: sampling.Network,
    trajectory: jax.Array,  # [t + 1, b, h, w, c] of a DDIM inversion, clean latents first
    context: jax.Array,  # [b, k, d]
    null_context: jax.Array,  # [b, k, d] to start from
    table: DDIMTable,
    *,
    guidance: jax.Array,  # []
    tolerance: jax.Array,  # []
    inner_steps: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The embeddings `[t, b, k, d]`, the updates each took, int32 `[t, b]`, and the losses before each, `[t, i, b]`.

    Follows the authors' code: Adam anew at each step with rate 0.01 (1 - step / 100), embeddings carried from step to
    step, and the loss tested against tolerance + step * 2e-5 only after the update it asked for. Images that are done
    wait unchanged for the slowest of the batch, so that a batch gives what one by one gives. Losses of updates that
    were not made are NaN.
    """
    targets = trajectory[-2::-1]  # [t, b, h, w, c]: where each sampling step should land
    adam = optax.scale_by_adam()

    def advance(carry, scanned):
        latents, null = carry
        row, target = scanned
        with_text = predict(latents, row.t, context)

        def land(null):
            return ddim.prev_step(latents, sampling.combine(predict(latents, row.t, null), with_text, guidance), row)

        def objective(null):
            losses = jnp.mean((land(null) - target) ** 2, axis=(1, 2, 3))  # [b]
            return losses.sum(), losses

        def improve(carry):
            i, null, moments, is_active, used, history = carry
            (_, losses), gradient = jax.value_and_grad(objective, has_aux=True)(null)
            updates, moments = adam.update(gradient, moments)
            moved = null - LEARNING_RATE * (1 - row.step / 100) * updates
            null = jnp.where(is_active[:, None, None], moved, null)
            history = history.at[i].set(jnp.where(is_active, losses, jnp.nan))
            is_done = losses < tolerance + row.step * TOLERANCE_GROWTH
            return i + 1, null, moments, is_active & ~is_done, used + is_active, history

        b = latents.shape[0]
        first = (
            0,
            null,
            adam.init(null),
            jnp.ones(b, bool),
            jnp.zeros(b, jnp.int32),
            jnp.full((inner_steps, b), jnp.nan),
        )
        unfinished = lambda carry: (carry[0] < inner_steps) & carry[3].any()
        _, null, _, _, used, history = jax.lax.while_loop(unfinished, improve, first) if inner_steps else first
        return (land(null), null), (null, used, history)

    start = (trajectory[-1], null_context.astype(jnp.float32))
    return jax.lax.scan(advance, start, (table, targets))[1]
