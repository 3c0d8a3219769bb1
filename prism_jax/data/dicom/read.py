"""Radiographs in DICOM files: display-ready grey levels and tags.

Every defect of a file raises a one-line ValueError: pixel data is decoded only if the tags that describe it are valid,
and any error of pydicom or a decoder is reported as damage.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import threading
import warnings
from typing import TYPE_CHECKING

import numpy as np

from prism_jax.data.dicom import tags as dicom_tags
from prism_jax.data.dicom import windowing
from prism_jax.data.dicom.tags import Tags, count, one_line, shape, text

if TYPE_CHECKING:
    from pydicom import Dataset

PREFIX = slice(128, 132)  # b"DICM" in every DICOM file
MAX_PIXELS = 10**8  # a chest X-ray has 2e7 at most; more is a damaged or hostile file
COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # Pillow's weights
# In order of preference: Pillow refuses truncated data; the others decode what Pillow and pydicom cannot.
DECODERS = ("pillow", "pydicom", "pylibjpeg", "pyjpegls", "gdcm")
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
END_OF_IMAGE = b"\xff\xd9"  # last marker of a JPEG stream


@dataclasses.dataclass(frozen=True, kw_only=True)
class Radiograph:
    """One decoded file."""

    pixels: np.ndarray  # uint8 [h, w], upright, dense is bright
    tags: Tags
    dataset: Dataset  # every tag, as pydicom has them


def is_dicom(data: bytes) -> bool:
    """True if the bytes have the prefix of a DICOM file."""
    return data[PREFIX] == b"DICM"


def read(data: bytes) -> Radiograph:
    """Pixels and tags of a DICOM file.

    Grey levels go through the modality rescale or table, then the first VOI table or window of the file; without one,
    the range of the stored bits is mapped to 0 to 255 for every file: if each image were stretched to its own range, a
    change of one device would change the grey levels of the whole image. MONOCHROME1 is inverted. An image that is
    upside down, on its side or mirrored by its Patient Orientation is turned upright.

    Raises:
      ValueError: one line, for a file that is not DICOM, damaged, or without a single grey or colour image.
    """
    with _quiet:
        dataset = parse(data)
        tags = dicom_tags.of(dataset)
        return Radiograph(pixels=_upright(_pixels(dataset), tags.orientation), tags=tags, dataset=dataset)


class _Quiet:
    """Silences pydicom's warnings about odd tags while any thread reads; errors are raised all the same.

    Warning filters belong to the process, so the first thread to enter sets them and the last to leave resets them.
    """

    def __init__(self):
        self._lock, self._readers, self._kept = threading.Lock(), 0, None

    def __enter__(self):
        with self._lock:
            if self._readers == 0:
                logger = logging.getLogger("pydicom")
                self._kept = contextlib.ExitStack()
                self._kept.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                self._kept.callback(setattr, logger, "disabled", logger.disabled)
                logger.disabled = True
            self._readers += 1

    def __exit__(self, *error):
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._kept.close()


_quiet = _Quiet()


def parse(data: bytes) -> Dataset:
    """All tags of a DICOM file as a pydicom dataset. Raises ValueError where `data` is no readable DICOM file."""
    try:
        import pydicom
    except ModuleNotFoundError:
        raise ValueError(
            "is a DICOM file, which pydicom reads; install it with: pip install 'prism-jax[data]'"
        ) from None
    if not is_dicom(data):
        raise ValueError("is not a DICOM file (no DICM at byte 128)")
    try:
        return pydicom.dcmread(io.BytesIO(data))
    except Exception as error:  # errors of any type, caused by broken lengths
        raise ValueError(f"is a damaged DICOM file ({one_line(error)})") from None


def _pixels(dataset: Dataset) -> np.ndarray:
    """uint8 [h, w], dense is bright, in the orientation of the file."""
    photometric, sides = _check(dataset), shape(dataset)
    try:
        stored = _decode(dataset)
    except Exception as error:
        raise ValueError(f"its pixel data cannot be decoded ({one_line(error)})") from None
    if photometric in COLORS:
        if stored.shape != (*sides, 3) or stored.dtype != np.uint8:
            raise ValueError(f"its pixel data is {stored.dtype} {stored.shape}, not uint8 {(*sides, 3)}")
        return np.round(stored @ LUMINANCE).astype(np.uint8)
    if stored.shape != sides:
        raise ValueError(f"its pixel data is {stored.shape}, the tags say {sides}")
    try:
        grey = windowing.to_8_bits(dataset, stored)
    except Exception as error:
        raise ValueError(f"its grey levels are invalid ({one_line(error)})") from None
    return 255 - grey if photometric == "MONOCHROME1" else grey


def _check(dataset: Dataset) -> str:
    """The photometric interpretation, after a check of all tags that decoding relies on."""
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        modality = text(dataset, "Modality") or "unknown"
        raise ValueError(f"holds no image (modality {modality}), or is cut off before it")
    if "PixelData" not in dataset:
        raise ValueError("holds floating-point grey values; export it with integers")
    height, width = shape(dataset)
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"is {height} x {width} pixels by its tags; 1 to {MAX_PIXELS} in all can be read")
    frames = count(dataset, "NumberOfFrames", 1)
    if frames > 1:
        raise ValueError(f"holds {frames} frames; export the one you want")
    photometric = text(dataset, "PhotometricInterpretation")
    samples = 3 if photometric in COLORS else 1
    if photometric not in ("MONOCHROME1", "MONOCHROME2", *COLORS):
        raise ValueError(f"photometric interpretation must be MONOCHROME1, MONOCHROME2 or RGB, got {photometric!r}")
    if count(dataset, "SamplesPerPixel", samples) != samples:
        raise ValueError(f"{photometric} has {samples} samples per pixel, not {count(dataset, 'SamplesPerPixel')}")
    return photometric


def _decode(dataset: Dataset) -> np.ndarray:
    """Stored values in the shape of the tags. May raise any exception."""
    from pydicom.pixels import get_decoder, pixel_array

    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return pixel_array(dataset, correct_unused_bits=False)  # windowing does, wherever the bits lie
    if syntax == JPEG_EXTENDED and dataset.BitsStored > 8:
        return _decode_jpeg_of_12_bits(dataset)
    usable = [name for name in DECODERS if name in get_decoder(syntax).available_plugins]
    if not usable:
        raise ValueError(f"{syntax.name} needs a decoder: pip install pylibjpeg pylibjpeg-libjpeg, or python-gdcm")
    return pixel_array(dataset, decoding_plugin=usable[0])


def _decode_jpeg_of_12_bits(dataset: Dataset) -> np.ndarray:
    """Stored values [h, w] of a JPEG Extended file of 12 bits; pydicom's plugins refuse those that devices write."""
    from pydicom.encaps import generate_frames

    try:
        import imagecodecs
    except ModuleNotFoundError:
        raise ValueError("JPEG Extended of 12 bits needs a decoder: pip install imagecodecs") from None
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    if END_OF_IMAGE not in frame[-4:]:  # the decoder would fill missing data with grey
        raise ValueError("its JPEG data is cut off")
    return imagecodecs.jpeg8_decode(frame)


def _upright(pixels: np.ndarray, orientation: tuple[str, str] | None) -> np.ndarray:
    """Pixels turned so that rows run to the patient's left and columns to the feet, if `orientation` is known."""
    if orientation is None:
        return pixels
    rows, columns = orientation
    if dicom_tags.is_on_its_side(orientation):
        pixels, rows, columns = pixels.T, columns, rows
    if columns == "H":
        pixels = pixels[::-1]
    if rows == "R":
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
