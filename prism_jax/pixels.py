"""Conversions between 8-bit grey levels and the network range [-1, 1], for NumPy and JAX arrays alike."""

import typing

import jax
import numpy as np

Array = typing.TypeVar("Array", np.ndarray, jax.Array)

GREY_LEVELS = 127.5  # in one unit of [-1, 1]


def from_uint8(images: Array) -> Array:
    """Grey levels 0 to 255, of any shape, as float32 in [-1, 1]."""
    return images.astype(np.float32) / GREY_LEVELS - 1


def grey_levels(images: Array) -> Array:
    """Images in [-1, 1], of any shape, as whole grey levels 0 to 255 in float32; values outside are clipped."""
    return ((images.astype(np.float32).clip(-1, 1) + 1) * GREY_LEVELS).round()


def to_uint8(images: Array) -> Array:
    """Images in [-1, 1], of any shape, as uint8; values outside are clipped."""
    return grey_levels(images).astype(np.uint8)


def rgb_from_uint8(images: Array) -> Array:
    """Grey levels [..., h, w] as float32 [..., h, w, 3] in [-1, 1], the three channels alike."""
    return from_uint8(images)[..., None].repeat(3, axis=-1)
