"""From image files to network input: decoding, and resizing that keeps the aspect ratio."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

Fit = Literal["pad", "crop"]
FORMATS = ("PNG", "JPEG")


def decode(data: bytes, *, bit_depth: int = 16) -> np.ndarray:
    """The grey picture in an encoded PNG or JPEG as uint8 [h, w]; colour is turned to luminance.

    `bit_depth` says how many bits of a 16-bit file carry the picture (12 for many detectors): white is
    `2**bit_depth - 1`. The scale is fixed: stretching each image to its own range would change all of it
    when one device in it changes. Raises a one-line ValueError for anything that is not a complete picture.
    """
    return _to_8_bits(_pixels(data), bit_depth)


def stored(data: bytes, *, max_side: int | None = None, bit_depth: int = 16) -> tuple[bytes, int, int]:
    """(bytes to store, original height, original width) of an encoded PNG or JPEG; see `decode` for errors.

    The file's own bytes, unless it has 16 bits or a side above `max_side`: then an 8-bit PNG, aspect kept.
    """
    pixels = _pixels(data)
    height, width = pixels.shape
    scale = min(1.0, (max_side or math.inf) / max(height, width))
    if pixels.dtype == np.uint8 and scale == 1.0:
        return data, height, width
    pixels = _to_8_bits(pixels, bit_depth)
    if scale < 1.0:
        sides = [max(1, round(side * scale)) for side in pixels.shape]
        pixels = np.clip(np.round(resize(pixels.astype(np.float32), *sides)), 0, 255).astype(np.uint8)
    return encode_png(pixels), height, width


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """A float32 picture [h, w] at another size: bicubic, widened against aliasing where it shrinks."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def to_input(pixels: np.ndarray, size: int | tuple[int, int], fit: Fit = "pad", *, factor: int = 8) -> np.ndarray:
    """Network input float32 [h, w, 3] in [-1, 1] of a grey uint8 picture of any shape, aspect ratio kept.

    `size` is a side or (height, width). `fit` "pad" shows the whole picture on black, "crop" fills the frame
    with its centre. `factor` is how far the VAE shrinks a side.
    """
    height, width = frame(size, factor=factor)
    scales = height / pixels.shape[0], width / pixels.shape[1]
    if fit not in ("pad", "crop"):
        raise ValueError(f"fit {fit!r} is not 'pad' or 'crop'")
    scale = min(scales) if fit == "pad" else max(scales)
    inner = [max(1, round(side * scale)) for side in pixels.shape]
    grey = pixels.astype(np.float32) / 127.5 - 1.0
    if inner != list(pixels.shape):
        grey = np.clip(resize(grey, *inner), -1.0, 1.0)
    top, left = (inner[0] - height) // 2, (inner[1] - width) // 2  # negative where there is room to fill
    grey = grey[max(top, 0) :, max(left, 0) :][:height, :width]
    above, before = max(-top, 0), max(-left, 0)
    below, after = height - grey.shape[0] - above, width - grey.shape[1] - before
    grey = np.pad(grey, ((above, below), (before, after)), constant_values=-1.0)
    return np.repeat(grey[:, :, None], 3, axis=2)


def frame(size: int | tuple[int, int], *, factor: int = 8) -> tuple[int, int]:
    """(height, width) of `size`, a side or a pair, or a ValueError where the VAE cannot take it."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    for side in sides:
        if side < factor or side % factor:
            low = side // factor * factor
            near = f"{low} or {low + factor}" if low > 0 else f"{factor}"
            raise ValueError(f"size {side} is not divisible by the VAE's factor {factor}; use {near}")
    return sides


def load_image(
    path: str | Path, size: int | tuple[int, int], fit: Fit = "pad", *, bit_depth: int = 16, factor: int = 8
) -> np.ndarray:
    """Network input float32 [h, w, 3] in [-1, 1] of one PNG or JPEG file; see `decode` and `to_input`.

    Raises a one-line ValueError that names the file if it is missing, unreadable, corrupt or of another kind.
    """
    frame(size, factor=factor)
    try:
        return to_input(decode(read_bytes(path), bit_depth=bit_depth), size, fit, factor=factor)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_bytes(path: str | Path) -> bytes:
    """The file's content; a one-line ValueError where there is none."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror or error})") from None
    if not data:
        raise ValueError("is empty")
    return data


def encode_png(pixels: np.ndarray) -> bytes:
    """A grey uint8 picture [h, w] as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] as uint8, for files and figures."""
    return np.round((np.clip(np.asarray(images, np.float32), -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)


def _to_8_bits(pixels: np.ndarray, bit_depth: int) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    white = 2**bit_depth - 1
    if pixels.max() > white:
        raise ValueError(f"grey value {pixels.max()} exceeds bit_depth {bit_depth} (white {white})")
    return np.round(pixels * (255 / white)).astype(np.uint8)


def _pixels(data: bytes) -> np.ndarray:
    """Grey uint8 or uint16 [h, w], upright."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        image.load()  # refuses truncated files
        ImageOps.exif_transpose(image, in_place=True)
    except Image.UnidentifiedImageError:
        raise ValueError("is not a PNG or JPEG image") from None
    except Exception as error:  # PIL's decoders raise OSError, SyntaxError, zlib.error, struct.error, ...
        raise ValueError(f"is corrupt ({error})") from None
    if image.mode.startswith("I"):  # 16-bit grey
        return np.asarray(image).astype(np.uint16)
    return np.array(image.convert("L"))
