"""Training images and loss of the VAE: random crops, and the reconstruction loss."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from prism_jax.metrics.image import psnr
from prism_jax.pixels import from_uint8


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReconstructionLoss:
    """Weights of the loss, for images in [-1, 1]; every term is a mean over its elements."""

    l1: float = 1.0
    l2: float = 1.0
    edge: float = 1.0
    """Weight of the L1 error of image gradients, so that thin wires count."""
    detail: float = 40.0
    """Extra weight of pixels, per unit of contrast to their 5x5 surroundings: wires and tubes fill few pixels, and a
    plain mean would let them vanish."""
    kl: float = 1e-5
    """Kullback-Leibler divergence of the posterior from a standard normal, per latent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """Random crop, shift and contrast of the training images."""

    crop: int | None = None
    """Side in pixels of a random square, or None: whole images."""
    shift: int = 0
    """Largest random translation of whole images, in pixels; edges are repeated."""
    contrast: float = 0.0
    """Largest relative change of contrast."""


def reconstruction_loss(
    decoded: jax.Array, images: jax.Array, mean: jax.Array, logvar: jax.Array, weights: ReconstructionLoss
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Loss [] and its parts for images [b, h, w, 3] in [-1, 1]; "psnr" is the mean over images, in dB."""
    error = decoded - images
    importance = 1 + weights.detail * local_contrast(images)  # [b, h, w, 3]
    l1, l2 = jnp.mean(importance * jnp.abs(error)), jnp.mean(importance * error**2)
    edge = sum(jnp.mean(jnp.abs(jnp.diff(error, axis=axis))) for axis in (1, 2))
    kl = 0.5 * jnp.mean(mean**2 + jnp.exp(logvar) - 1 - logvar)
    loss = weights.l1 * l1 + weights.l2 * l2 + weights.edge * edge + weights.kl * kl
    return loss, {"l1": l1, "edge": edge, "kl": kl, "psnr": psnr(decoded, images).mean()}


def local_contrast(images: jax.Array) -> jax.Array:
    """Distance of every pixel of `images` [b, h, w, 3] from the mean of the 5x5 around it, the border included."""
    ones = jnp.ones((1, *images.shape[1:3], 1))
    total = lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 5, 5, 1), (1, 1, 1, 1), "SAME")
    return jnp.abs(images - total(images) / total(ones))


def to_float(images: jax.Array) -> jax.Array:
    """uint8 [b, h, w] (grey) or [b, h, w, 3] -> float32 [b, h, w, 3] in [-1, 1]."""
    images = images[..., None] if images.ndim == 3 else images
    images = from_uint8(images)
    return jnp.broadcast_to(images, (*images.shape[:3], 3))


def augment(images: jax.Array, keys: Callable[[str], jax.Array], window: Window) -> jax.Array:
    """A random window and contrast for each of `images` [b, h, w, 3]; `keys(stream)` gives keys [b]."""
    pad = window.shift
    side = window.crop or images.shape[1]
    height, width = (side, window.crop or images.shape[2])
    if pad:
        images = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    if images.shape[1:3] != (height, width):
        room = jnp.array([images.shape[1] - height + 1, images.shape[2] - width + 1])

        def cut(image, key):
            row, column = jax.random.randint(key, (2,), 0, room)
            return jax.lax.dynamic_slice(image, (row, column, 0), (height, width, 3))

        images = jax.vmap(cut)(images, keys("window"))
    if window.contrast:
        gain = jax.vmap(lambda k: jax.random.uniform(k, (1, 1, 1), minval=-1.0))(keys("contrast"))
        images = jnp.clip(images * (1 + window.contrast * gain), -1, 1)
    return images
