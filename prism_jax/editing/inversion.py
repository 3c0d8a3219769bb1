"""Inversion of images into a latent trajectory that samples back to them: one function for all methods."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh

from prism_jax import rng, sharding
from prism_jax.diffusion import ddim, sampling
from prism_jax.editing import direct, edit_friendly, null_text
from prism_jax.models.unet import UNet2DCondition
from prism_jax.stable_diffusion import StableDiffusion, check_prompts

METHODS = ("ddim", "null_text", "negative_prompt", "direct", "edit_friendly")
SOURCE_LOCKED = ("direct", "edit_friendly")  # every step sets the source back to its trajectory: exact reconstruction


@partial(struct.dataclass, kw_only=True)
class Inversion:
    """Inverted images: all that `editing.edit` needs to reconstruct and to edit them."""

    trajectory: jax.Array  # [t + 1, b, h, w, c] clean latents first
    context: jax.Array  # [b, k, d] of the prompts
    null_context: jax.Array  # [t, b, k, d] of the empty prompt, or the embedding the method replaces it by
    offsets: jax.Array | None = None  # [t, b, h, w, c] correction of each step to the trajectory (`SOURCE_LOCKED`)
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
    mesh: Mesh | None = None,
) -> Inversion:
    """Inverts clean `latents [b, h, w, c]` under their prompts.

    Methods: `ddim` (Song et al. 2021; reconstructs well only at guidance 1), `null_text` (Mokady et al. 2023),
    `negative_prompt` (Miyake et al. 2023), `direct` (Ju et al. 2023) and `edit_friendly` (Huberman-Spiegelglas et al.
    2024; `guidance` is the source's as well). `inner_steps` and `tolerance` are null_text's updates per step and the
    loss at which it stops, `seed` is edit_friendly's: one noise for all images, so that results do not depend on the
    batch. With a `mesh` the images are sharded over its devices, on which `sd` is replicated (`sd.on(mesh)`).

    Raises:
      ValueError: unknown method, prompts that do not match the latents or are too long, sides or steps that do not fit
        the model, or a batch that does not divide over the mesh.
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
    if mesh is not None:
        sharding.check_batch_size(len(latents), mesh)
    embedded = sd.encode_prompt([*prompts, ""])
    options = Options(guidance=jnp.float32(guidance), tolerance=jnp.float32(tolerance), key=rng.key(seed))
    arrays = _invert(
        sd.unet,
        jnp.asarray(latents, jnp.float32),
        embedded[:-1],
        embedded[-1:],
        ddim.ddim_table(sd.schedule, steps),
        options,
        method=method,
        inner_steps=inner_steps,
        mesh=mesh,
    )
    return Inversion(**arrays, guidance=options.guidance, prompts=tuple(prompts), method=method)


@struct.dataclass
class Options:
    """Numbers of an inversion, as arrays: another value does not retrace."""

    guidance: jax.Array  # []
    tolerance: jax.Array  # []
    key: jax.Array  # []


@partial(jax.jit, static_argnames=("method", "inner_steps", "mesh"))
def _invert(*args: Any, method: str, inner_steps: int, mesh: Mesh | None) -> dict[str, jax.Array | None]:
    """`_invert_part` of the images of each device of the mesh."""
    images, of_steps, whole = sharding.BATCH, sharding.STEP_BATCH, sharding.REPLICATED
    outputs = dict.fromkeys(("trajectory", "null_context", "offsets", "inner_iterations"), of_steps)
    function = partial(_invert_part, method=method, inner_steps=inner_steps)
    inputs = (whole, images, images, whole, whole, whole)
    return sharding.shard_map_over_batch(function, mesh, inputs, outputs | {"context": images})(*args)


def _invert_part(
    unet: UNet2DCondition,
    latents: jax.Array,  # [b, h, w, c]
    context: jax.Array,  # [b, k, d]
    null: jax.Array,  # [1, k, d]
    table: ddim.DDIMTable,
    given: Options,
    *,
    method: str,
    inner_steps: int,
) -> dict[str, jax.Array | None]:
    """The arrays of an `Inversion`, by name."""
    steps, b = table.t.shape[0], len(latents)
    null = jnp.broadcast_to(null, context.shape)  # [b, k, d]
    arrays = {"context": context, "offsets": None, "inner_iterations": jnp.zeros((steps, b), jnp.int32)}
    if method == "edit_friendly":
        noise = jax.random.normal(given.key, (steps, 1, *latents.shape[1:]))
        trajectory = edit_friendly.noisy_path(latents, noise, table)
    else:
        trajectory = ddim.invert(sampling.conditional(unet, context), latents, table)
    if method in SOURCE_LOCKED:
        guided = sampling.guided(unet, context, null, given.guidance)
        arrays["offsets"] = direct.offsets(guided, trajectory, table, eta=eta_of(method))
    if method == "null_text":
        options = dict(guidance=given.guidance, tolerance=given.tolerance, inner_steps=inner_steps)
        null, arrays["inner_iterations"], _ = null_text.tune(unet, trajectory, context, null, table, **options)
    elif method == "negative_prompt":
        null = context  # arXiv 2305.16807: where null-text tuning ends if the estimates along the inversion agree
    return arrays | {"trajectory": trajectory, "null_context": jnp.broadcast_to(null, (steps, *context.shape))}


def eta_of(method: str) -> float:
    """The DDIM eta of a method's sampling steps: 0 deterministic, 1 DDPM (see `ddim.stochastic_step`)."""
    return 1.0 if method == "edit_friendly" else 0.0
