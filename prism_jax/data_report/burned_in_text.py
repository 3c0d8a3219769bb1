"""Marks burned into an X-ray, suspected: letters, side markers, dates, arrows near the border.

A mark is bright, thin, sharp-edged and of the size of a letter. Bones are never so sharp, but electrodes and pieces
of metal near the border can be; dark marks, small print and marks in the middle of the picture are not looked for.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from prism_jax.data import transforms

SIDE = 512  # pixels of the longer side at which marks are sought; larger pictures are shrunk
STROKE = 15  # pixels; a stroke is thinner
CONTRAST = 70  # grey levels above the surroundings
LEAST_BRIGHT = 150  # grey level
HEIGHTS, WIDTHS = (6, 60), (2, 60)  # pixels of a letter, or of a word whose letters touch
LEAST_AREA = 12  # pixels
MOST_OBLONG = 12  # longer side over shorter: lines and borders are no letters
BORDER = 0.15  # of the shorter side
LEAST_SHARP = 30  # grey levels a pixel, mean gradient along the rim


class Mark(NamedTuple):
    """The frame of one mark, as shares of the picture's height (top, bottom) and width (left, right)."""

    top: float
    left: float
    bottom: float
    right: float


def find(pixels: np.ndarray) -> tuple[Mark, ...]:
    """The marks suspected in a grey picture uint8 [h, w], from top to bottom."""
    scale = min(1.0, SIDE / max(pixels.shape))
    picture = pixels.astype(np.float32)
    if scale < 1:
        sides = [max(1, round(side * scale)) for side in pixels.shape]
        picture = np.clip(transforms.resize(picture, *sides), 0, 255)
    height, width = picture.shape
    grey = picture.astype(np.uint8)
    thin = grey - _opened(grey)
    pieces, _ = ndimage.label((thin > CONTRAST) & (grey > LEAST_BRIGHT), np.ones((3, 3)))
    found = []
    for number, frame in enumerate(ndimage.find_objects(pieces), 1):
        rows, columns = frame
        if _near_border(rows, columns, height, width) and _is_letter(picture, pieces, frame, number):
            found.append(
                Mark(rows.start / height, columns.start / width, rows.stop / height, columns.stop / width),
            )
    return tuple(found)


def outlined(pixels: np.ndarray, marks: tuple[Mark, ...], *, level: int = 255) -> np.ndarray:
    """The picture uint8 [h, w] with a line of grey `level` around each mark."""
    picture, (height, width) = pixels.copy(), pixels.shape
    gap = max(height, width) // 100 + 1
    for mark in marks:
        top, bottom = max(int(mark.top * height) - gap, 0), min(int(mark.bottom * height) + gap, height - 1)
        left, right = max(int(mark.left * width) - gap, 0), min(int(mark.right * width) + gap, width - 1)
        picture[[top, bottom], left : right + 1] = level
        picture[top : bottom + 1, [left, right]] = level
    return picture


def _opened(grey: np.ndarray) -> np.ndarray:
    """The picture uint8 [h, w] without what is bright and thinner than STROKE: its minimum's maximum in a square."""
    for extreme in (np.minimum, np.maximum):
        grey = np.pad(grey, STROKE // 2, mode="edge")
        for _ in range(2):  # along both axes
            grey = _slid(grey, extreme).T
    return grey


def _slid(grey: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """The extreme of each STROKE neighbours along the first axis [n - STROKE + 1, w], by doubling."""
    reach = 1
    while reach < STROKE:
        step = min(reach, STROKE - reach)
        grey = extreme(grey[:-step], grey[step:])
        reach += step
    return grey


def _near_border(rows: slice, columns: slice, height: int, width: int) -> bool:
    nearest = min(rows.start, columns.start, height - rows.stop, width - columns.stop)
    return nearest < BORDER * min(height, width)


def _is_letter(picture: np.ndarray, pieces: np.ndarray, frame: tuple[slice, slice], number: int) -> bool:
    piece = pieces[frame] == number
    height, width = piece.shape
    fits = HEIGHTS[0] <= height <= HEIGHTS[1] and WIDTHS[0] <= width <= WIDTHS[1]
    oblong = max(height, width) / min(height, width)
    if not fits or oblong > MOST_OBLONG or piece.sum() < LEAST_AREA:
        return False
    wide = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in frame)  # the rim needs its outer neighbours
    around = picture[wide]
    gradient = np.hypot(ndimage.sobel(around, 0), ndimage.sobel(around, 1)) / 8  # grey levels a pixel
    shape = pieces[wide] == number
    return gradient[shape ^ ndimage.binary_erosion(shape)].mean() >= LEAST_SHARP
