"""Bicubic resizing as PyTorch's `interpolate(mode="bicubic", align_corners=False, antialias=False)` does it."""

import jax
import jax.numpy as jnp
import numpy as np

SHARPNESS = -0.75  # Keys 1981, eq. 4, `a`; the paper, Pillow and `jax.image.resize` take -0.5


def bicubic(images: jax.Array, height: int, width: int) -> jax.Array:
    """Resizes `[b, h, w, c]` to float32 `[b, height, width, c]`, each side by its own factor.

    Nothing is clamped: next to sharp edges the result leaves the range of the input. Nothing is smoothed either:
    where it shrinks, pixels between the four that are read do not count.
    """
    rows, columns = _weights(images.shape[1], height), _weights(images.shape[2], width)
    images = images.astype(jnp.float32)
    return jnp.einsum("ih,bhwc,jw->bijc", rows, images, columns, precision=jax.lax.Precision.HIGHEST)


def _weights(inputs: int, outputs: int) -> np.ndarray:
    """float32 [outputs, inputs]: row i holds the four weights of output i; beyond an edge its pixel repeats."""
    # Positions are rounded to float32 as PyTorch does: at 512 pixels that moves them by 1e-5 of a pixel.
    scale = np.float32(inputs) / np.float32(outputs)
    position = scale * (np.arange(outputs, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    taps = np.floor(position).astype(np.int64)[:, None] + np.arange(-1, 3)  # [outputs, 4]
    weights = np.zeros((outputs, inputs))
    values = _kernel(position[:, None].astype(np.float64) - taps)
    np.add.at(weights, (np.arange(outputs)[:, None], np.clip(taps, 0, inputs - 1)), values)
    return weights.astype(np.float32)


def _kernel(x: np.ndarray) -> np.ndarray:
    """Keys 1981, eq. 4."""
    a, x = SHARPNESS, np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
