"""Multi-scale structural similarity (Wang, Simoncelli, Bovik 2003)."""

import jax
import jax.numpy as jnp

from prism_jax.metrics.image import WINDOW, Range, similarity_maps

# The exponents of the paper's five scales, finest first.
BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
EDGE = WINDOW // 2


def ms_ssim(
    images: jax.Array, references: jax.Array, *, value_range: Range = (-1.0, 1.0), scales: int = len(BETAS)
) -> jax.Array:
    """MS-SSIM of `[b, h, w, c]` twice, float32 `[b]`; eq. 7 of the paper with the windows of `image.ssim`.

    Each scale halves the images by 2x2 means. As in torchmetrics, structure is averaged over whole windows and the
    SSIM of the coarsest scale over all positions, and a negative average counts as 0, so that powers stay real. Five
    scales need 176 pixels. Of fewer, the finest are taken and their exponents made to sum to 1: that is another
    number, to be compared with its own kind only.

    Raises:
      ValueError: more scales than the size allows, or than the paper has.
    """
    if not 1 <= scales <= len(BETAS):
        raise ValueError(f"scales must be 1 to {len(BETAS)}, got {scales}")
    allowed = scales_within(images.shape)
    if allowed < scales:
        size = f"{images.shape[1]}x{images.shape[2]}"
        raise ValueError(f"images of {size} are too small for {scales} scales of MS-SSIM; use scales={allowed}")
    # The paper's five are used as printed, though rounding leaves their sum at 1.0001.
    total = 1.0 if scales == len(BETAS) else sum(BETAS[:scales])
    product = jnp.ones(len(images))
    for scale in range(scales):
        luminance, structure = similarity_maps(images, references, value_range=value_range)
        is_last = scale == scales - 1
        seen = luminance * structure if is_last else structure[:, EDGE:-EDGE, EDGE:-EDGE]
        product *= jnp.maximum(jnp.mean(seen, axis=(1, 2, 3)), 0.0) ** (BETAS[scale] / total)
        images, references = (images, references) if is_last else (_halved(images), _halved(references))
    return product


def scales_within(shape: tuple[int, ...]) -> int:
    """Number of scales, 0 to 5, that images `[b, h, w, c]` of this shape allow."""
    side, count = min(shape[1:3]), 0
    while side >= WINDOW and count < len(BETAS):
        side, count = side // 2, count + 1
    return count


def _halved(images: jax.Array) -> jax.Array:
    """Means of 2x2 pixels; an odd last row or column is left out."""
    b, h, w, c = images.shape
    cut = images[:, : h // 2 * 2, : w // 2 * 2].astype(jnp.float32)
    return cut.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
