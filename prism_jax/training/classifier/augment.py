"""Augmentation that preserves the labels. Images are never mirrored: the heart lies on the left."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Largest size of each random change; all zero: no augmentation."""

    shift: float = 0.04
    """Along each side, as a fraction of it; the edge is repeated."""
    rotation: float = 5.0
    """Degrees."""
    contrast: float = 0.15
    """Relative change of contrast, about mid grey."""
    brightness: float = 0.1
    """In the range [-1, 1] of the images."""

    def __post_init__(self) -> None:
        limits = {"shift": 0.5, "rotation": 180.0, "contrast": 1.0, "brightness": 2.0}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"augmentation.{name} {getattr(self, name)} must lie between 0 and {limit:g}")


def augment(images: jax.Array, keys: Callable[[str], jax.Array], config: Augmentation) -> jax.Array:
    """A random change of each of `images` [b, h, w, 1] in [-1, 1], which they stay in.

    Args:
      keys: `keys(stream)` gives a key for each image, [b].
    """
    uniform = lambda name, count: jax.vmap(lambda k: jax.random.uniform(k, (count,), minval=-1.0))(keys(name))
    if config.shift or config.rotation:
        moves = uniform("move", 3) * jnp.array([[config.shift, config.shift, jnp.deg2rad(config.rotation)]])
        images = jax.vmap(_moved)(images, moves)
    if config.contrast or config.brightness:
        gain, offset = jnp.split(uniform("grey", 2)[:, None, None], 2, axis=-1)  # [b, 1, 1, 1] each
        images = jnp.clip(images * (1 + config.contrast * gain) + config.brightness * offset, -1, 1)
    return images


def _moved(image: jax.Array, move: jax.Array) -> jax.Array:
    """`image` [h, w, 1] shifted by `move` (down, right: fractions of a side) and turned by its third, in radians."""
    height, width = image.shape[:2]
    rows, columns = jnp.arange(height) - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2
    rows, columns = rows - move[0] * height, columns - move[1] * width
    cos, sin = jnp.cos(move[2]), jnp.sin(move[2])
    row = cos * rows[:, None] - sin * columns[None] + (height - 1) / 2
    column = sin * rows[:, None] + cos * columns[None] + (width - 1) / 2
    return jax.scipy.ndimage.map_coordinates(image[..., 0], [row, column], order=1, mode="nearest")[..., None]
