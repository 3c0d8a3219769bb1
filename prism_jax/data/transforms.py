"""From image files to network input: decoding, and resizing that keeps the aspect ratio.

Training, inversion and evaluation all see images through `decode_file` and `to_input`.
"""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from prism_jax.data.dicom import read as dicom_read
from prism_jax.pixels import from_uint8

Fit = Literal["pad", "crop"]
FORMATS = ("PNG", "JPEG", "TIFF")
STORED = (b"\x89PNG", b"\xff\xd8")  # first bytes of files that are stored unchanged
WHITE_IS_ZERO, PHOTOMETRIC = 0, 262  # of TIFF
CROP_MARGIN = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class XrayFile:
    """A PNG, JPEG, TIFF or DICOM file, read and decoded once."""

    data: bytes
    pixels: np.ndarray  # uint8 [h, w], upright; colour is luminance
    has_8_bits: bool
    dicom: dicom_read.Radiograph | None  # with its tags; None for other files

    def stored(self, *, max_side: int | None = None) -> bytes:
        """The unchanged file if it is an 8-bit PNG or JPEG with no side above `max_side`; else an 8-bit PNG, aspect
        ratio kept."""
        scale = min(1.0, (max_side or math.inf) / max(self.pixels.shape))
        if self.has_8_bits and scale == 1.0 and self.data.startswith(STORED):
            return self.data
        pixels = self.pixels
        if scale < 1.0:
            sides = [max(1, round(side * scale)) for side in pixels.shape]
            pixels = np.clip(np.round(resize(pixels.astype(np.float32), *sides)), 0, 255).astype(np.uint8)
        return encode_png(pixels)


def read_file(path: str | Path, *, bit_depth: int = 16) -> XrayFile:
    """The image file at `path`; a one-line ValueError that names it where it is missing or `decode_file` refuses it."""
    try:
        return decode_file(read_bytes(path), bit_depth=bit_depth)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def decode_file(data: bytes, *, bit_depth: int = 16) -> XrayFile:
    """The image in an encoded PNG, JPEG, TIFF or DICOM file.

    `bit_depth` is the number of bits of a 16-bit file that carry the image (12 for many detectors): white is
    `2**bit_depth - 1`. The scale is fixed: if each image were stretched to its own range, a change of one device would
    change the grey levels of the whole image. DICOM files state their own; see `dicom.read`. Raises a one-line
    ValueError for anything that is not one complete image.
    """
    if dicom_read.is_dicom(data):
        radiograph = dicom_read.read(data)
        return XrayFile(data=data, pixels=radiograph.pixels, has_8_bits=True, dicom=radiograph)
    pixels = _pixels(data, bit_depth)
    has_8_bits = pixels.dtype == np.uint8
    return XrayFile(data=data, pixels=_to_8_bits(pixels, bit_depth), has_8_bits=has_8_bits, dicom=None)


def decode(data: bytes) -> np.ndarray:
    """The image in an encoded 8-bit file, such as those of data sets, as uint8 [h, w]; see `decode_file`."""
    return decode_file(data).pixels


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bicubic resize of a float32 image [h, w], antialiased when it shrinks.

    Pillow's: OpenCV's INTER_AREA takes 60 % of its time, but loses more when shrinking a little (40.7 dB against
    41.4 dB for 52 X-rays shrunk to 0.7 of their sides and enlarged again; 37.8 and 37.7 dB at half).
    """
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def to_input(pixels: np.ndarray, size: int | tuple[int, int], fit: Fit = "pad", *, factor: int = 8) -> np.ndarray:
    """Network input float32 [h, w, 3] in [-1, 1] of a grey uint8 image of any shape, aspect ratio kept; read-only.

    `size` is a side or (height, width). `fit` "pad" pads the whole image with black, "crop" fills the frame
    with its centre. `factor` is the VAE's downsampling factor.
    """
    height, width = frame(size, factor=factor)
    scales = height / pixels.shape[0], width / pixels.shape[1]
    if fit not in ("pad", "crop"):
        raise ValueError(f"fit must be 'pad' or 'crop', got {fit!r}")
    scale = min(scales) if fit == "pad" else max(scales)
    inner = [max(1, round(side * scale)) for side in pixels.shape]
    grey = from_uint8(pixels)
    if inner != list(pixels.shape):
        grey = np.clip(resize(grey, *inner), -1.0, 1.0)
    top, left = (inner[0] - height) // 2, (inner[1] - width) // 2  # negative where there is room to fill
    grey = grey[max(top, 0) :, max(left, 0) :][:height, :width]
    above, before = max(-top, 0), max(-left, 0)
    below, after = height - grey.shape[0] - above, width - grey.shape[1] - before
    if above or below or before or after:
        grey = np.pad(grey, ((above, below), (before, after)), constant_values=-1.0)
    return np.broadcast_to(grey[..., None], (height, width, 3))


def crop_to(pixels: np.ndarray, mask: np.ndarray, *, margin: float = CROP_MARGIN) -> np.ndarray:
    """The bounding box [h', w'] of a mask (bright inside) in an image [h, w] of the same shape, with a margin.

    `margin`, a fraction of the box's longer side, is added on all sides within the image. With a mask of the lungs
    the crop holds the chest alone, whatever the field of view.
    """
    if mask.shape != pixels.shape:
        raise ValueError(f"mask is {mask.shape} pixels, the image {pixels.shape}; draw masks on the image")
    inside = mask > 127
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        raise ValueError("mask is empty: there is nothing to crop to")
    more = round(margin * max(np.ptp(rows), np.ptp(columns)) + margin)
    top, left = max(rows[0] - more, 0), max(columns[0] - more, 0)
    return pixels[top : rows[-1] + more + 1, left : columns[-1] + more + 1]


def frame(size: int | tuple[int, int], *, factor: int = 8) -> tuple[int, int]:
    """(height, width) of `size`, a side or a pair; ValueError unless the VAE's factor divides both."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    for side in sides:
        if side < factor or side % factor:
            low = side // factor * factor
            near = f"{low} or {low + factor}" if low > 0 else f"{factor}"
            raise ValueError(f"size {side} is not divisible by the VAE's factor {factor}; use {near}")
    return sides


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
    """A grey uint8 image [h, w] as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _to_8_bits(pixels: np.ndarray, bit_depth: int) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    white = 2**bit_depth - 1
    if pixels.max() > white or pixels.min() < 0:
        beyond = pixels.max() if pixels.max() > white else pixels.min()
        raise ValueError(f"grey value {beyond} exceeds bit_depth {bit_depth} (white {white})")
    return np.round(pixels * (255 / white)).astype(np.uint8)


def _pixels(data: bytes, bit_depth: int) -> np.ndarray:
    """Grey values of a PNG, JPEG or TIFF file, uint8 or, beyond 8 bits, int32 [h, w], upright."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        frames = getattr(image, "n_frames", 1)
        image.load()  # refuses truncated files
        ImageOps.exif_transpose(image, in_place=True)
    except Image.UnidentifiedImageError:
        raise ValueError("is not a PNG, JPEG, TIFF or DICOM image") from None
    except Exception as error:  # PIL's decoders raise OSError, SyntaxError, zlib.error, struct.error, ...
        raise ValueError(f"is corrupt ({' '.join(str(error).split())[:200]})") from None
    if frames > 1:
        raise ValueError(f"holds {frames} images; export the one you want")
    if image.mode == "F":
        raise ValueError("holds floating-point grey values; export it with integers")
    if not image.mode.startswith("I"):
        return np.array(image.convert("L"))
    deep = np.asarray(image).astype(np.int32)
    is_inverse = getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO  # Pillow inverts 8 bits only
    return 2**bit_depth - 1 - deep if is_inverse else deep
