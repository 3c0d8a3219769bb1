"""Thickness and intensity of digits, measured on their pixels as Morpho-MNIST does (Castro et al., JMLR 2019)."""

import functools

import numpy as np
from scipy import ndimage

SCALE = 4  # enlargement of the images on which strokes are measured
BLUR = 2 * SCALE / 6  # standard deviation in enlarged pixels, as in an image pyramid
CHUNK = 256  # images at once


def intensity(images: np.ndarray) -> np.ndarray:
    """Median grey level [n] of the bright pixels of images [n, h, w]: those from half way between extremes up."""
    images = np.asarray(images, np.float64)
    return np.array([np.median(image[bright]) for image, bright in zip(images, _bright(images), strict=True)])


def thickness(images: np.ndarray) -> np.ndarray:
    """Mean thickness [n] of the strokes in images [n, h, w], in pixels; NaN for an image of one grey level.

    Twice the distance to the background, averaged over the skeleton of the enlarged image. The skeleton is thinned
    (Zhang and Suen 1984) where the toolbox takes a medial axis: both miss the generator's aim by 0.1 pixels on average.
    """
    images = np.asarray(images, np.float64)
    parts = [_thickness(images[at : at + CHUNK]) for at in range(0, len(images), CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _thickness(images: np.ndarray) -> np.ndarray:
    rows, columns = _enlargement(images.shape[1]), _enlargement(images.shape[2])
    strokes = _bright(np.einsum("ih,nhw,jw->nij", rows, images, columns, optimize=True))
    # Images far apart along the first axis: the nearest background is always in the same one.
    far = 2 * sum(strokes.shape[1:])
    distance = ndimage.distance_transform_edt(strokes, sampling=(far, 1, 1))
    bones = skeleton(strokes)
    total, count = np.sum(distance, axis=(1, 2), where=bones), bones.sum(axis=(1, 2))
    is_flat = images.max((1, 2)) == images.min((1, 2))
    return np.where(is_flat, np.nan, 2 * total / np.maximum(count, 1) / SCALE)


def _bright(images: np.ndarray) -> np.ndarray:
    """bool [n, h, w]: from half way between the extremes of each image up."""
    low, high = images.min((1, 2), keepdims=True), images.max((1, 2), keepdims=True)
    return images >= low + (high - low) / 2


@functools.cache
def _enlargement(side: int) -> np.ndarray:
    """[SCALE side, side]: cubic spline interpolation, then smoothing, of one axis as one matrix."""
    enlarged = ndimage.zoom(np.eye(side), (SCALE, 1), order=3, mode="reflect", grid_mode=True)
    return ndimage.gaussian_filter1d(enlarged, BLUR, axis=0)


def skeleton(shapes: np.ndarray) -> np.ndarray:
    """Thins bool [n, h, w] to lines one pixel wide that keep ends and connections (Zhang and Suen 1984)."""
    bones = np.pad(shapes, ((0, 0), (1, 1), (1, 1)))
    inner = bones[:, 1:-1, 1:-1]
    before = -1
    while before != (before := int(inner.sum())):
        for removable in _removable():
            inner &= ~removable[_neighbours(bones)]
    return inner.copy()


def _neighbours(padded: np.ndarray) -> np.ndarray:
    """uint8 [n, h, w]: one bit for each of the eight neighbours, clockwise from above."""
    h, w = padded.shape[1] - 2, padded.shape[2] - 2
    steps = ((0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))
    code = np.zeros((len(padded), h, w), np.uint8)
    for bit, (down, across) in enumerate(steps):
        code |= padded[:, down : down + h, across : across + w].view(np.uint8) << np.uint8(bit)
    return code


@functools.cache
def _removable() -> tuple[np.ndarray, np.ndarray]:
    """bool [256] for each of the two passes: whether a pixel with these neighbours goes."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1  # [256, 8]
    count = bits.sum(1)
    starts = ((bits == 0) & (np.roll(bits, -1, axis=1) == 1)).sum(1)  # runs of neighbours
    up, right, down, left = bits[:, 0], bits[:, 2], bits[:, 4], bits[:, 6]
    is_border = (count >= 2) & (count <= 6) & (starts == 1)
    first = is_border & (up * right * down == 0) & (right * down * left == 0)
    return first, is_border & (up * right * left == 0) & (up * down * left == 0)
