"""Agreement of two images: L1, MSE, PSNR, SSIM, per image and with intervals over subjects.

The functions are plain JAX, `[b, h, w, c]` twice -> `[b]` in float32. `value_range` is (black, white):
(-1, 1) is the package's own, (0, 255) that of grey levels. L1 and MSE are in the units given.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax.stats.intervals import Estimate, bootstrap

PSNR_CEILING = 100.0  # dB; the PSNR of equal images is infinite, which must not make a mean infinite
WINDOW = 11
SIGMA = 1.5
Range = tuple[float, float]  # (black, white)
HIGHEST = jax.lax.Precision.HIGHEST  # TF32 products would cost SSIM four digits


def l1(images: jax.Array, references: jax.Array) -> jax.Array:
    """Mean absolute difference per image, [b]."""
    images, references = _float_pair(images, references)
    return jnp.mean(jnp.abs(images - references), axis=(1, 2, 3))


def mse(images: jax.Array, references: jax.Array) -> jax.Array:
    """Mean squared difference per image, [b]."""
    images, references = _float_pair(images, references)
    return jnp.mean(jnp.square(images - references), axis=(1, 2, 3))


def psnr(images: jax.Array, references: jax.Array, *, value_range: Range = (-1.0, 1.0)) -> jax.Array:
    """Peak signal-to-noise ratio in dB per image, [b], at most PSNR_CEILING."""
    black, white = value_range
    noise = mse(images, references) / (white - black) ** 2
    return jnp.minimum(-10.0 * jnp.log10(jnp.maximum(noise, jnp.finfo(jnp.float32).tiny)), PSNR_CEILING)


def ssim(images: jax.Array, references: jax.Array, *, value_range: Range = (-1.0, 1.0)) -> jax.Array:
    """Structural similarity per image, [b]: Gaussian window 11, sigma 1.5, k1 .01, k2 .03.

    Wang et al. 2004, eq. 13, averaged over all positions with the image mirrored at its edges, as in
    torchmetrics; the original leaves the outer 5 pixels out. Black counts as 0 in the luminance term.
    """
    luminance, structure = similarity_maps(images, references, value_range=value_range)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))


def similarity_maps(
    images: jax.Array, references: jax.Array, *, value_range: Range = (-1.0, 1.0)
) -> tuple[jax.Array, jax.Array]:
    """The two factors of SSIM at every position, `[b, h, w, c]`: luminance, and contrast with structure.

    Raises:
      ValueError: shapes that differ, images smaller than the window.
    """
    images, references = _float_pair(images, references)
    if min(images.shape[1:3]) < WINDOW:
        size = f"{images.shape[1]}x{images.shape[2]}"
        raise ValueError(f"images of {size} are smaller than SSIM's {WINDOW}x{WINDOW} window; use larger ones")
    black, white = value_range
    # Variances are unchanged by a shift; near zero the difference of squares below loses no digits.
    shift = jnp.mean(references, axis=(1, 2), keepdims=True)  # [b, 1, 1, c]
    x, y = images - shift, references - shift
    mean_x, mean_y = _blur(x), _blur(y)  # [b, h, w, c]
    var_x = jnp.maximum(_blur(x * x) - mean_x**2, 0.0)
    var_y = jnp.maximum(_blur(y * y) - mean_y**2, 0.0)
    cov = _blur(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + shift - black, mean_y + shift - black
    c1, c2 = (0.01 * (white - black)) ** 2, (0.03 * (white - black)) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * cov + c2) / (var_x + var_y + c2)
    return luminance, structure


def compare(images: jax.Array, references: jax.Array, *, subjects: Sequence, value_range: Range) -> dict[str, Estimate]:
    """Mean, count and interval of "l1", "psnr" and "ssim"; `subjects` [b] names every row's subject."""
    columns = {
        "l1": l1(images, references),
        "psnr": psnr(images, references, value_range=value_range),
        "ssim": ssim(images, references, value_range=value_range),
    }
    return {
        name: bootstrap(np.mean, np.asarray(column, np.float64), subjects=subjects) for name, column in columns.items()
    }


def _float_pair(images: jax.Array, references: jax.Array) -> tuple[jax.Array, jax.Array]:
    if jnp.ndim(images) != 4 or jnp.shape(images) != jnp.shape(references):
        shapes = f"images {jnp.shape(images)} and references {jnp.shape(references)}"
        raise ValueError(f"{shapes} must have one shape [b, h, w, c]")
    return jnp.asarray(images, jnp.float32), jnp.asarray(references, jnp.float32)


def _blur(x: jax.Array) -> jax.Array:
    """Gaussian-weighted window mean of [b, h, w, c] at every position, as two banded matrix products."""
    return jnp.einsum("ih,bhwc,jw->bijc", _band(x.shape[1]), x, _band(x.shape[2]), precision=HIGHEST)


def _band(size: int) -> np.ndarray:
    """[size, size]: row i holds the weights of the window around i, those beyond an edge mirrored inwards."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * (offsets / SIGMA) ** 2)
    weights /= weights.sum()
    columns = np.abs(np.arange(size)[:, None] + offsets[None, :])  # -1 -> 1
    columns = np.minimum(columns, 2 * (size - 1) - columns)  # size -> size - 2
    band = np.zeros((size, size))
    np.add.at(band, (np.arange(size)[:, None], columns), weights[None, :])
    return band.astype(np.float32)
