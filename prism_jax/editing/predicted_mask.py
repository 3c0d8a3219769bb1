"""Edit masks predicted by the model itself: DiffEdit (Couairon et al. 2023, arXiv 2210.11427, section 3.2).

The image's latents are noised half-way, and the noise in them is estimated under its own prompt and under the edited
one. The mask is where the two estimates differ. No ground truth is needed, so it works for real X-rays.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax import rng
from prism_jax.diffusion.sampling import Network
from prism_jax.diffusion.schedule import NoiseSchedule, add_noise
from prism_jax.models.unet import UNet2DCondition
from prism_jax.stable_diffusion import StableDiffusion, check_prompts


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskPrediction:
    """Options of mask prediction: the paper's values, except the quantile, which it does not give."""

    strength: float = 0.5
    """Noise level, as a fraction of the schedule."""
    noises: int = 10
    """Number of noise samples whose differences are averaged."""
    threshold: float = 0.5
    """Of the difference relative to its quantile; the mask is above it."""
    quantile: float = 0.95
    """Of an image's differences; larger ones are outliers and clipped to it. Chosen on held-out phantoms."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.strength <= 1 and 0 <= self.threshold < 1 and 0 < self.quantile <= 1) or self.noises < 1:
            raise ValueError(
                f"mask prediction with strength {self.strength}, noises {self.noises}, threshold {self.threshold}, "
                f"quantile {self.quantile}; use strength and quantile in (0, 1], threshold in [0, 1), noises from 1"
            )


def predict_mask(
    sd: StableDiffusion,
    latents: jax.Array,
    prompts: Sequence[str],
    edited: Sequence[str],
    ids: np.ndarray,
    *,
    config: MaskPrediction = MaskPrediction(),
) -> np.ndarray:
    """Masks bool `[b, height, width]` in pixels, for `Edit.mask`: where `edited` prompts change what `prompts` show.

    `latents [b, h, w, c]` are clean, of images that show their prompts. `ids` uint32 `[b]` name the examples: the noise
    of one is the same in every batch. Equal prompts give an empty mask, which keeps the image.

    Raises:
      ValueError: lists that do not match, or prompts that are too long.
    """
    check_prompts(prompts)
    check_prompts(edited)
    counts = (len(latents), len(prompts), len(edited), len(ids))
    if len(set(counts)) > 1:
        raise ValueError(f"{counts} latents, prompts, edited prompts and ids; give one of each for every image")
    contexts = sd.encode_prompt([*prompts, *edited])
    mask = _predict_mask(
        sd.unet,
        sd.schedule,
        jnp.asarray(latents, jnp.float32),
        contexts.reshape(2, len(prompts), *contexts.shape[1:]),
        rng.per_example(rng.stream(rng.key(config.seed), "predicted mask"), ids),
        jnp.int32(round(config.strength * (sd.schedule.config.num_train_timesteps - 1))),
        jnp.float32(config.threshold),
        jnp.float32(config.quantile),
        noises=config.noises,
    )
    factor = sd.vae.config.factor
    return np.asarray(mask).repeat(factor, axis=1).repeat(factor, axis=2)


def differences(
    predict: Network,
    schedule: NoiseSchedule,
    latents: jax.Array,  # [b, h, w, c], clean
    contexts: jax.Array,  # [2, b, k, d], of the image's own prompts first
    keys: jax.Array,  # [b]
    t: jax.Array,  # int32 []
    *,
    noises: int,
) -> jax.Array:
    """Absolute difference of the two noise estimates, mean over channels and noises, `[b, h, w]`.

    Raw outputs suffice: at one timestep a v-prediction's difference is that of the noise times a constant.
    """

    def add(total: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, i), latents.shape[1:]))(keys)
        noisy = add_noise(schedule, latents, noise, t)
        outputs = predict(jnp.concatenate([noisy, noisy]), t, contexts.reshape(-1, *contexts.shape[2:]))
        own, edited = jnp.split(outputs.astype(jnp.float32), 2)
        return total + jnp.abs(edited - own).mean(-1), None

    total, _ = jax.lax.scan(add, jnp.zeros(latents.shape[:3]), jnp.arange(noises))
    return total / noises


def above(differing: jax.Array, *, threshold: jax.Array | float, quantile: jax.Array | float) -> jax.Array:
    """The mask bool `[b, h, w]` of differences `[b, h, w]`.

    Clipping to the quantile, rescaling it to 1 and applying the threshold equals a comparison with threshold times
    quantile. Zero stays zero, as in diffusers, which clips at three times the mean: subtracting the minimum would turn
    the mask of an edit of the whole image into noise.
    """
    most = jnp.quantile(differing, quantile, axis=(1, 2), keepdims=True)
    return differing > threshold * most


@partial(jax.jit, static_argnames="noises")
def _predict_mask(
    unet: UNet2DCondition,
    schedule: NoiseSchedule,
    latents: jax.Array,
    contexts: jax.Array,
    keys: jax.Array,
    t: jax.Array,
    threshold: jax.Array,
    quantile: jax.Array,
    *,
    noises: int,
) -> jax.Array:
    mask = above(
        differences(unet, schedule, latents, contexts, keys, t, noises=noises), threshold=threshold, quantile=quantile
    )
    # Rows of a batch may differ in their last bit, which rescaling would turn into a mask for equal prompts.
    has_change = (contexts[0] != contexts[1]).any((1, 2))
    return mask & has_change[:, None, None]
