"""Cross-attention maps of the words of a prompt (DAAM), averaged over noise levels, layers and heads.

The image is noised as in training and given to the UNet with the prompt; DAAM (Tang et al. 2023, arXiv 2210.04885) does
so along sampling. Attention is not edited, so the maps do not depend on how the image was made. The layers are those of
the local blend.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax import rng
from prism_jax.diffusion import sampling
from prism_jax.diffusion.schedule import NoiseSchedule, add_noise
from prism_jax.editing import blend
from prism_jax.models.attention import Site
from prism_jax.models.unet import UNet2DCondition
from prism_jax.stable_diffusion import StableDiffusion

LEVELS = 8  # of noise that maps are averaged over, evenly spaced over the schedule


def token_maps(sd: StableDiffusion, latents: jax.Array, prompts: Sequence[str]) -> jax.Array:
    """Maps float32 `[b, 77, h, w]` of every token, at the latents' size; they sum to 1 over the tokens.

    Raises ValueError for a prompt that does not fit.
    """
    total = sd.schedule.config.num_train_timesteps
    timesteps = jnp.asarray((np.arange(LEVELS) + 0.5) * total / LEVELS, jnp.int32)
    keys = jax.random.split(rng.stream(rng.key(0), "word maps"), LEVELS)
    return _token_maps(sd.unet, sd.schedule, latents, sd.encode_prompt(prompts), timesteps, keys)


class _Recorder:
    """An `AttentionControl` that changes nothing and collects cross-attention while the UNet is traced.

    Make a new one for every call.
    """

    def __init__(self):
        self.maps: dict[tuple[int, int], list[jax.Array]] = {}  # by side, each [b, h, w, k]

    def replace_self_attention(self, q: jax.Array, k: jax.Array, site: Site) -> tuple[jax.Array, jax.Array]:
        return q, k

    def edit_cross_attention(self, probs: jax.Array, site: Site) -> jax.Array:
        side = site.height, site.width
        mean = probs.mean(1)  # over heads
        self.maps.setdefault(side, []).append(mean.reshape(len(mean), *side, -1))
        return probs

    def mean(self, blend_side: tuple[int, int]) -> jax.Array:
        """Over the layers of the side that the local blend reads, or else the nearest coarser, or else finer one."""
        coarser = [side for side in self.maps if side <= blend_side]
        layers = self.maps[max(coarser) if coarser else min(self.maps)]
        return sum(layers) / len(layers)


@jax.jit
def _token_maps(
    unet: UNet2DCondition,
    schedule: NoiseSchedule,
    latents: jax.Array,  # [b, h, w, c]
    context: jax.Array,  # [b, k, d]
    timesteps: jax.Array,  # [t]
    keys: jax.Array,  # [t]
) -> jax.Array:
    b, h, w, _ = latents.shape
    draw = partial(sampling.initial_latents, ids=jnp.zeros(b, jnp.int32), shape=latents.shape[1:])

    def at(level: tuple[jax.Array, jax.Array]) -> jax.Array:
        t, key = level
        recorder = _Recorder()
        # All images get the same noise, so that their maps differ by the images alone.
        unet(add_noise(schedule, latents, draw(key), t), t, context, control=recorder)
        return recorder.mean(blend.map_side(h, w))

    mean = jax.lax.map(at, (timesteps, keys)).mean(0)  # [b, h', w', k]
    maps = jnp.moveaxis(mean, -1, 1)
    return jax.image.resize(maps, (*maps.shape[:2], h, w), "linear")
