"""Detection of burned-in text: letters, side markers, dates and arrows near the border of an X-ray.

A detection is bright, thin, sharp-edged and of the size of a letter. Bones are never so sharp, but electrodes and
metal near the border can be false positives; dark text, small print and text in the middle are not detected.
"""

import functools
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from prism_jax.data import transforms

SIDE = 512  # pixels of the longer side at which text is detected; larger images are shrunk
STROKE = 15  # pixels, largest width of a stroke
CONTRAST = 70  # grey levels above the surroundings
MIN_BRIGHTNESS = 150  # grey level
HEIGHTS, WIDTHS = (6, 60), (2, 60)  # pixels of a letter, or of a word whose letters touch
MIN_AREA = 12  # pixels
MAX_ASPECT_RATIO = 12  # longer side over shorter: excludes lines and borders
BORDER = 0.15  # of the shorter side
MIN_SHARPNESS = 30  # grey levels per pixel, mean gradient along the rim


class TextBox(NamedTuple):
    """Bounding box of one letter or word, as fractions of the image's height (top, bottom) and width (left, right)."""

    top: float
    left: float
    bottom: float
    right: float


def detect(pixels: np.ndarray) -> tuple[TextBox, ...]:
    """Suspected burned-in text of a grey image uint8 [h, w], from top to bottom."""
    scale = min(1.0, SIDE / max(pixels.shape))
    image = pixels.astype(np.float32)
    if scale < 1:
        sides = [max(1, round(side * scale)) for side in pixels.shape]
        image = np.clip(transforms.resize(image, *sides), 0, 255)
    height, width = image.shape
    grey = image.astype(np.uint8)
    thin = grey - _opened(grey)
    pieces, _ = ndimage.label((thin > CONTRAST) & (grey > MIN_BRIGHTNESS), np.ones((3, 3)))
    boxes = []
    for number, frame in enumerate(ndimage.find_objects(pieces), 1):
        rows, columns = frame
        nearest = min(rows.start, columns.start, height - rows.stop, width - columns.stop)
        if nearest < BORDER * min(height, width) and _is_letter(image, pieces, frame, number):
            boxes.append(
                TextBox(rows.start / height, columns.start / width, rows.stop / height, columns.stop / width),
            )
    return tuple(boxes)


def outlined(pixels: np.ndarray, boxes: tuple[TextBox, ...]) -> np.ndarray:
    """The image uint8 [h, w] with a white line around each box, wide enough to stay visible when it is shrunk."""
    image, (height, width) = Image.fromarray(pixels).copy(), pixels.shape
    gap, line = max(height, width) // 100 + 1, -(-max(height, width) // 320)
    for box in boxes:
        top, bottom = max(int(box.top * height) - gap, 0), min(int(box.bottom * height) + gap, height - 1)
        left, right = max(int(box.left * width) - gap, 0), min(int(box.right * width) + gap, width - 1)
        ImageDraw.Draw(image).rectangle((left, top, right, bottom), outline=255, width=line)
    return np.asarray(image)


def _opened(grey: np.ndarray) -> np.ndarray:
    """Grey opening of an image uint8 [h, w] with a STROKE x STROKE square: removes thinner bright structures."""
    for extreme in (np.minimum, np.maximum):
        grey = np.pad(grey, STROKE // 2, mode="edge")
        for _ in range(2):  # along both axes
            shifted = (grey[start : len(grey) - STROKE + 1 + start] for start in range(STROKE))
            grey = functools.reduce(extreme, shifted).T
    return grey


def _is_letter(image: np.ndarray, pieces: np.ndarray, frame: tuple[slice, slice], number: int) -> bool:
    piece = pieces[frame] == number
    height, width = piece.shape
    fits = HEIGHTS[0] <= height <= HEIGHTS[1] and WIDTHS[0] <= width <= WIDTHS[1]
    oblong = max(height, width) / min(height, width)
    if not fits or oblong > MAX_ASPECT_RATIO or piece.sum() < MIN_AREA:
        return False
    wide = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in frame)  # the rim needs its outer neighbours
    around = image[wide]
    gradient = np.hypot(ndimage.sobel(around, 0), ndimage.sobel(around, 1)) / 8  # grey levels a pixel
    shape = pieces[wide] == number
    return gradient[shape ^ ndimage.binary_erosion(shape)].mean() >= MIN_SHARPNESS
