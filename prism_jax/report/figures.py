"""Derived images: difference maps, attention overlays, contact sheets, outlines. Arrays in, arrays out."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

DIFFERENCE_LIMIT = 64  # grey levels; fixed, so that maps of different subjects can be compared
DENSER = (255, 72, 48)
LESS_DENSE = (64, 140, 255)
BACKDROP = 0.5  # brightness of the anatomy under a difference map
OUTLINE = (255, 209, 92)
OUTLINE_WIDTH = 512  # pixels
ATTENTION = (255, 176, 40)
GAP = 4  # pixels between the images of a contact sheet
MOST_OPAQUE = 0.85  # of attention, so that the image stays visible under it


def difference_image(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Signed map of `after - before`, both uint8 [h, w], as uint8 [h, w, 3].

    Red where `after` is denser (brighter), blue where less, over a dimmed `before`; the opacity of the colour
    is the change over DIFFERENCE_LIMIT, at most 1, on both sides alike.
    """
    for name, image in (("before", before), ("after", after)):
        if image.dtype != np.uint8 or image.ndim != 2 or image.shape != before.shape:
            raise ValueError(f"{name} is {image.dtype} {image.shape}; two grey images uint8 [h, w] are needed")
    change = after.astype(np.float32) - before  # [h, w]
    opacity = np.minimum(np.abs(change) / DIFFERENCE_LIMIT, 1)[..., None]
    colour = np.where(change[..., None] > 0, np.float32(DENSER), np.float32(LESS_DENSE))
    backdrop = BACKDROP * before[..., None].astype(np.float32)
    return np.rint(opacity * colour + (1 - opacity) * backdrop).astype(np.uint8)


def attention_image(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """A map float [h', w'] of attention over a dimmed `image`, uint8 [h, w], as uint8 [h, w, 3].

    Opacity goes from the map's lowest value to its highest: the map shows where, `contrast` how much.
    """
    attention = np.asarray(attention, np.float32)
    value_range = max(np.ptp(attention), np.finfo(np.float32).tiny)
    scaled = Image.fromarray((attention - attention.min()) / value_range)
    opacity = MOST_OPAQUE * np.clip(scaled.resize(image.shape[::-1], Image.Resampling.BICUBIC), 0, 1)[..., None]
    backdrop = BACKDROP * image[..., None].astype(np.float32)
    return np.rint(opacity * np.float32(ATTENTION) + (1 - opacity) * backdrop).astype(np.uint8)


def contrast(attention: np.ndarray) -> float:
    """The largest value of a map over its mean: 1 for uniform attention, NaN where all are 0."""
    attention = np.asarray(attention, np.float64)
    return float(attention.max() / attention.mean()) if attention.any() else math.nan


def contact_sheet(images: Sequence[np.ndarray], *, columns: int | None = None) -> np.ndarray:
    """Images uint8 [h, w] or [h, w, 3] of one shape on a black sheet, row by row; square by default."""
    if not len(images):
        raise ValueError("a contact sheet needs at least one image, got none")
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise ValueError(f"images of one shape are needed for a contact sheet, got {sorted(shapes)}")
    height, width, *channels = images[0].shape
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    rows = math.ceil(len(images) / columns)
    sheet = np.zeros((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, *channels), np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = image
    return sheet


def outline(mask: np.ndarray) -> Image.Image:
    """The border of bool `mask` [h, w] as a thin line on a transparent image about OUTLINE_WIDTH pixels wide."""
    scale = max(OUTLINE_WIDTH // mask.shape[1], 1)
    large = np.pad(np.kron(mask, np.ones((scale, scale), bool)), 2)
    inner = large.copy()
    for shift, axis in ((2, 0), (-2, 0), (2, 1), (-2, 1)):
        inner &= np.roll(large, shift, axis)
    image = Image.fromarray((large & ~inner)[2:-2, 2:-2].astype(np.uint8), "P")
    image.putpalette([0, 0, 0, *OUTLINE])
    image.info["transparency"] = 0
    return image
