"""Edit-friendly DDPM inversion (Huberman-Spiegelglas et al. 2024, arXiv 2304.06140): noise maps that reproduce the
image."""

import jax
import jax.numpy as jnp

from prism_jax.diffusion.ddim import DDIMTable


def noisy_path(latents: jax.Array, noise: jax.Array, table: DDIMTable) -> jax.Array:
    """Clean `latents [b, h, w, c]` noised to every timestep, each with independent noise: `[t + 1, ...]`, clean first.

    `noise` is standard normal, `[t, b, h, w, c]` in sampling order. Between neighbours lies more noise than a sampler
    would draw: `direct.offsets` at eta 1 of this path hold the image's structure, and edits keep it.
    """
    alpha = table.alpha[:, None, None, None, None]
    noisy = jnp.sqrt(alpha) * latents[None] + jnp.sqrt(1 - alpha) * noise
    return jnp.concatenate([latents[None], noisy[::-1]])
