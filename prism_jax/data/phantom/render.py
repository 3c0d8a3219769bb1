"""From attributes and noise to pixels: attenuation, display curve, blur, pixel noise, 8 bit."""

import math

import jax
import jax.numpy as jnp

from prism_jax.data.phantom.anatomy import anatomy
from prism_jax.data.phantom.devices import devices
from prism_jax.data.phantom.equations import Exogenous
from prism_jax.data.phantom.geometry import geometry
from prism_jax.data.phantom.shapes import grid

BLACK, WHITE = 0.04, 0.97  # grey of display 0 and 1
NOISE = 0.009  # standard deviation in display units
NOISE_CORRELATION = 0.7  # pixels


def render(attributes: dict[str, jax.Array], u: Exogenous, size: int) -> jax.Array:
    """Noise-free display float32 [size, size] in [0, 1] of one subject."""
    g = geometry(attributes, u)
    x, y = grid(size)
    x, y = x - g.shift[0], y - g.shift[1]
    cos, sin = jnp.cos(g.rotation) / g.scale, jnp.sin(g.rotation) / g.scale
    x, y = x * cos + y * sin, y * cos - x * sin
    attenuation = g.exposure * (anatomy(x, y, g, u) + devices(x, y, attributes, u))
    # a saturating curve: with clipping, leads would vanish over the mediastinum
    display = 1.0 - jnp.exp(-((jnp.maximum(attenuation, 1e-6) / 0.60) ** 1.55))
    return _blur(display, max(0.55, size / 800.0))


def finish(display: jax.Array, u: Exogenous, size: int) -> jax.Array:
    """uint8 [size, size]: adds the noise field of the subject at this size, scales to fixed greys, rounds.

    The field depends on no attribute and nothing is normalised per image: both would spread edits everywhere.
    """
    field = jax.random.normal(jax.random.fold_in(u.noise_key, size), (size, size), jnp.float32)
    taps = _taps(NOISE_CORRELATION)
    kept = sum(t * t for t in taps)  # variance left by blurring along one axis
    noisy = display + NOISE / kept * _blur(field, NOISE_CORRELATION)
    return jnp.round(255.0 * jnp.clip(BLACK + (WHITE - BLACK) * noisy, 0.0, 1.0)).astype(jnp.uint8)


def _taps(sigma: float) -> list[float]:
    radius = math.ceil(3.0 * sigma)
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    return [w / sum(weights) for w in weights]


def _blur(image: jax.Array, sigma: float) -> jax.Array:
    """Gaussian blur [h, w], `sigma` in pixels, edges replicated."""
    taps = _taps(sigma)
    radius = len(taps) // 2
    for axis in (0, 1):
        padding = [(radius, radius) if a == axis else (0, 0) for a in (0, 1)]
        padded = jnp.pad(image, padding, mode="edge")
        n = image.shape[axis]
        image = sum(t * jax.lax.slice_in_dim(padded, i, i + n, axis=axis) for i, t in enumerate(taps))
    return image
