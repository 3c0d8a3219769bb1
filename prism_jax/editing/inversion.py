"""From images to what samples back to them: one entry for every inversion method."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from prism_jax.diffusion import ddim, sampling
from prism_jax.editing import null_text
from prism_jax.models.unet import UNet2DCondition
from prism_jax.stable_diffusion import StableDiffusion, check_prompts

METHODS = ("ddim", "null_text")


@struct.dataclass
class Inversion:
    """What `editing.edit` needs to reconstruct images and to change them."""

    trajectory: jax.Array  # [t + 1, b, h, w, c] clean latents first
    context: jax.Array  # [b, k, d] of the prompts
    null_context: jax.Array  # [t, b, k, d] of the empty prompt, tuned by null_text
    inner_iterations: jax.Array  # int32 [t, b] updates that null_text made
    guidance: jax.Array  # []
    prompts: tuple[str, ...] = struct.field(pytree_node=False)
    method: str = struct.field(pytree_node=False)

    @property
    def steps(self) -> int:
        return self.null_context.shape[0]


def invert(
    sd: StableDiffusion,
    latents: jax.Array,
    prompts: Sequence[str],
    method: str = "null_text",
    steps: int = 50,
    guidance: float = 7.5,
    inner_steps: int = 10,
    tolerance: float = 1e-5,
    seed: int = 0,
) -> Inversion:
    """Inverts clean `latents [b, h, w, c]` under their prompts.

    Methods: `ddim` (Song et al. 2021; reconstructs well only at guidance 1) and `null_text` (Mokady et al. 2023).
    `inner_steps` and `tolerance` are null_text's updates per step and the loss at which it stops. `seed` is for
    methods that draw noise; these two do not.

    Raises:
      ValueError: unknown method, prompts that do not match the latents or are too long, or sides or steps that do not
        fit the model.
    """
    if method not in METHODS:
        raise ValueError(f"inversion method {method!r} is not known; use one of {', '.join(METHODS)}")
    check_prompts(prompts)
    if len(prompts) != len(latents):
        raise ValueError(f"{len(prompts)} prompts for {len(latents)} images; give one prompt per image")
    if inner_steps < 0:
        raise ValueError(f"inner_steps is {inner_steps}; use 0 or more")
    if latents.ndim != 4:
        raise ValueError(f"latents have the shape {latents.shape}; give [b, h, w, c]")
    embedded = sd.encode_prompt([*prompts, ""])
    inverted = _invert(
        sd.unet,
        jnp.asarray(latents, jnp.float32),
        embedded[:-1],
        embedded[-1:],
        ddim.ddim_table(sd.schedule, steps),
        jnp.float32(guidance),
        jnp.float32(tolerance),
        method=method,
        inner_steps=inner_steps,
    )
    return Inversion(*inverted, guidance=jnp.float32(guidance), prompts=tuple(prompts), method=method)


@partial(jax.jit, static_argnames=("method", "inner_steps"))
def _invert(
    unet: UNet2DCondition,
    latents: jax.Array,
    context: jax.Array,
    null: jax.Array,
    table: ddim.DDIMTable,
    guidance: jax.Array,
    tolerance: jax.Array,
    *,
    method: str,
    inner_steps: int,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Trajectory, context, null context and inner iterations of an `Inversion`."""
    null = jnp.broadcast_to(null, context.shape)  # [b, k, d]
    trajectory = ddim.invert(sampling.conditional(unet, context), latents, table)
    if method == "ddim":
        steps = table.t.shape[0]
        iterations = jnp.zeros((steps, len(latents)), jnp.int32)
        return trajectory, context, jnp.broadcast_to(null, (steps, *null.shape)), iterations
    options = dict(guidance=guidance, tolerance=tolerance, inner_steps=inner_steps)
    null_context, iterations, _ = null_text.tune(unet, trajectory, context, null, table, **options)
    return trajectory, context, null_context, iterations
