"""Inversion, edit and measurement of one image with a loaded model."""

from collections.abc import Mapping

import jax
import numpy as np

from prism_jax import editing
from prism_jax.evaluation.counterfactuals import attention_maps
from prism_jax.evaluation.single_edit.captions import Prompts
from prism_jax.evaluation.single_edit.stages import Stages
from prism_jax.metrics.image import l1, psnr, ssim
from prism_jax.model_card import EditDefaults
from prism_jax.stable_diffusion import StableDiffusion


def edit_image(
    sd: StableDiffusion,
    pixels: np.ndarray,
    prompt: str,
    edit: editing.Edit,
    defaults: EditDefaults,
    *,
    seed: int,
    stages: Stages,
) -> jax.Array:
    """Reconstruction and edit of one image [1, h, w, 3]: float32 [2, h, w, 3]; values may lie slightly outside [-1,
    1].

    Raises:
      FloatingPointError: the edit is not finite.
    """
    stages.begin(f"inverting ({defaults.method}, {defaults.steps} steps)", "invert")
    inversion = editing.invert(
        sd,
        sd.encode_image(pixels),
        [prompt],
        method=defaults.method,
        steps=defaults.steps,
        guidance=defaults.guidance,
        inner_steps=defaults.inner_steps,
        seed=seed,
    )
    jax.block_until_ready(inversion.trajectory)
    stages.begin(f"editing ({defaults.steps} steps)", "edit")
    result = jax.block_until_ready(editing.edit(sd, inversion, [[edit]]).latents)  # [1, 2, h, w, c]
    stages.begin("decoding and measuring", "decode")
    decoded = jax.block_until_ready(sd.decode(result[0]))
    if not np.isfinite(decoded).all():
        raise FloatingPointError(
            f"the edit has values that are not finite, with guidance {defaults.guidance:g} and weight "
            f"{defaults.weight:g}; use smaller ones, or --dtype float32"
        )
    return decoded


def attention_sheet(sd: StableDiffusion, prompts: Prompts, images: Mapping[str, np.ndarray]) -> np.ndarray:
    """Cross-attention maps of the words, uint8 [h, w, 3]."""
    shown = (images["reconstruction"], images["edit"])
    return attention_maps.sheet(attention_maps.maps_of_edit(sd, (prompts.source, prompts.target), shown))


def metrics_of(original: np.ndarray, decoded: jax.Array, lost_detail: float) -> dict[str, dict[str, float]]:
    """L1 (of 2), PSNR and SSIM: reconstruction against original, edit against reconstruction."""

    def compare(images: jax.Array, references: jax.Array | np.ndarray) -> dict[str, float]:
        measures = {"l1": l1, "psnr": psnr, "ssim": ssim}
        return {name: float(measure(images, references)[0]) for name, measure in measures.items()}

    return {
        "autoencoder": {"lost_detail": lost_detail},
        "reconstruction": compare(decoded[:1], original),
        "edit": compare(decoded[1:], decoded[:1]),
    }
