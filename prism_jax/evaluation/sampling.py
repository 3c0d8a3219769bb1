"""Images sampled from captions, as files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from prism_jax import StableDiffusion
from prism_jax.atomic import atomic_write
from prism_jax.data import transforms
from prism_jax.diffusion import sampling
from prism_jax.pixels import to_uint8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """Options of sampling images from captions."""

    steps: int = 20
    """Sampling steps."""
    guidance: float = 2.0
    """Classifier-free guidance scale."""
    sampler: str = "dpm_solver"
    """ddim or dpm_solver."""
    seed: int = 0
    """Seed of the initial noise."""
    batch_size: int = 16
    """Images per batch."""


def sample(sd: StableDiffusion, prompts: Sequence[str], config: Samples, key: jax.Array, folder: Path) -> list[Path]:
    """Files in `folder`, one per prompt in order; existing files are kept.

    An image depends only on key, index, prompt and settings, not on its batch.
    """
    files = [folder / f"{i:06d}.png" for i in range(len(prompts))]
    shape = sd.latent_shape(sd.size, sd.size)
    bar = tqdm(total=len(prompts), desc="sampling from captions", unit="image", mininterval=5)
    for start in range(0, len(prompts), config.batch_size):
        chosen = range(start, min(start + config.batch_size, len(prompts)))
        bar.update(len(chosen))
        if all(files[i].is_file() for i in chosen):
            continue
        filled = [*chosen, *[chosen[0]] * (config.batch_size - len(chosen))]  # one shape, one program
        latents = sampling.initial_latents(key, jnp.asarray(filled), shape)
        images = sd.sample(
            [prompts[i] for i in filled], config.steps, config.guidance, latents=latents, sampler=config.sampler
        )
        pixels = to_uint8(np.asarray(images.mean(-1)))  # [b, h, w]
        for i, image in zip(chosen, pixels, strict=False):
            with atomic_write(files[i]) as partial:
                partial.write_bytes(transforms.encode_png(image))
    bar.close()
    return files
