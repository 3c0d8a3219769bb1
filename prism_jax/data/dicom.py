"""Radiographs in DICOM files: the grey picture as it is meant to be seen, and what the tags say of it.

Nothing in a file can do worse than a ValueError of one line: pixel data is decoded only when the tags that describe
it make sense, and whatever pydicom or a decoder raises is reported as damage.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import math
import re
import threading
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from prism_jax.data import grey_levels

if TYPE_CHECKING:
    from pydicom import Dataset

MARK = slice(128, 132)  # where every DICOM file says b"DICM"
MAX_PIXELS = 10**8  # a chest X-ray has 2e7 at most; more is a damaged or hostile file
COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # as Pillow weighs colours
# Pillow's decoders refuse what is cut off; the others only decode what Pillow and pydicom cannot.
DECODERS = ("pillow", "pydicom", "pylibjpeg", "pyjpegls", "gdcm")
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tags:
    """What a file says about its picture, set upright. None or "" where it says nothing that can be understood."""

    age: float | None  # years
    sex: Literal["M", "F"] | None
    view: str | None  # View Position as it stands: "PA", "AP", "LL", ...
    spacing: tuple[float, float] | None  # mm between rows and between columns; at the detector if not known at the body
    height: int  # pixels
    width: int
    patient: str  # Patient ID
    study: str  # Study Instance UID
    modality: str  # "CR", "DX", ...
    orientation: tuple[str, str] | None  # where rows and columns run to: ("L", "F") is how a frontal image is shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Radiograph:
    """One decoded file."""

    pixels: np.ndarray  # uint8 [h, w], upright, dense is bright
    tags: Tags


def is_dicom(data: bytes) -> bool:
    """Whether the bytes bear the mark of a DICOM file."""
    return data[MARK] == b"DICM"


def read(data: bytes) -> Radiograph:
    """The picture and the tags of a DICOM file.

    Grey levels go through the modality rescale or table, then the first VOI table or window of the file; without
    one, the range that the stored bits can hold becomes 0 to 255, whatever the picture holds: stretching each to its
    own range would change all of it when one device in it changes. MONOCHROME1 is inverted. Where Patient Orientation
    says that the picture lies upside down, on its side or mirrored, it is turned.

    Raises:
      ValueError: one line, for what is no DICOM file, damaged, or holds no single grey or colour picture.
    """
    with _quiet:
        dataset = parse(data)
        tags = _tags(dataset)
        return Radiograph(pixels=_upright(_pixels(dataset), tags.orientation), tags=tags)


def read_tags(data: bytes) -> Tags:
    """The tags alone, without decoding the picture. Raises ValueError where `data` is no readable DICOM file."""
    with _quiet:
        return _tags(parse(data))


def parse_age(text: str) -> float | None:
    """Years of an Age String: "062Y", "018M", "03W", "62" (years), ...; None where it makes no sense."""
    found = re.fullmatch(r"\s*(\d{1,3})\s*([DWMY]?)\s*", text, re.ASCII | re.IGNORECASE)
    if found is None:
        return None
    years = int(found[1]) * DAYS[found[2].upper() or "Y"] / DAYS["Y"]
    return years if years <= 130 else None


class _Quiet:
    """While any thread reads, what pydicom says about odd tags stays off stderr: of a file that fails, the error tells.

    Filters of warnings belong to the process, so the first to enter sets them and the last to leave resets them.
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
    """All tags of a DICOM file as pydicom has them. Raises ValueError where `data` is no readable DICOM file."""
    try:
        import pydicom
    except ModuleNotFoundError:
        raise ValueError(
            "is a DICOM file, which pydicom reads; install it with: pip install 'prism-jax[data]'"
        ) from None
    if not is_dicom(data):
        raise ValueError("is not a DICOM file (no DICM mark at byte 128)")
    try:
        return pydicom.dcmread(io.BytesIO(data))
    except Exception as error:  # whatever broken lengths lead to
        raise ValueError(f"is a damaged DICOM file ({_line(error)})") from None


def _tags(dataset: Dataset) -> Tags:
    sex = _text(dataset, "PatientSex").upper()
    spacing = next(filter(None, (_spacing(dataset, name) for name in SPACINGS)), None)
    orientation, shape = _orientation(dataset), _shape(dataset)
    turn = slice(None, None, -1 if _is_on_its_side(orientation) else 1)
    return Tags(
        age=parse_age(_text(dataset, "PatientAge")),
        sex=sex if sex in ("M", "F") else None,
        view=_text(dataset, "ViewPosition") or None,
        spacing=spacing and spacing[turn],
        height=shape[turn][0],
        width=shape[turn][1],
        patient=_text(dataset, "PatientID"),
        study=_text(dataset, "StudyInstanceUID"),
        modality=_text(dataset, "Modality"),
        orientation=orientation,
    )


def _pixels(dataset: Dataset) -> np.ndarray:
    """uint8 [h, w], dense is bright, as the file has them laid out."""
    photometric, shape = _check(dataset), _shape(dataset)
    try:
        stored = _decode(dataset)
    except Exception as error:
        raise ValueError(f"its pixel data cannot be decoded ({_line(error)})") from None
    if photometric in COLORS:
        if stored.shape != (*shape, 3) or stored.dtype != np.uint8:
            raise ValueError(f"its pixel data is {stored.dtype} {stored.shape}, not uint8 {(*shape, 3)}")
        return np.round(stored @ LUMINANCE).astype(np.uint8)
    if stored.shape != shape:
        raise ValueError(f"its pixel data is {stored.shape}, the tags say {shape}")
    try:
        shown = grey_levels.shown(dataset, stored)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"its grey levels make no sense ({_line(error)})") from None
    return 255 - shown if photometric == "MONOCHROME1" else shown


def _check(dataset: Dataset) -> str:
    """The photometric interpretation, once all that decoding relies on is known to be there and sane."""
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        modality = _text(dataset, "Modality") or "unknown"
        raise ValueError(f"holds no picture (modality {modality}), or is cut off before it")
    if "PixelData" not in dataset:
        raise ValueError("holds floating-point grey values; export it with integers")
    height, width = _shape(dataset)
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"is {height} x {width} pixels by its tags; 1 to {MAX_PIXELS} in all can be read")
    frames = _count(dataset, "NumberOfFrames", 1)
    if frames > 1:
        raise ValueError(f"holds {frames} frames; export the one that is meant")
    photometric = _text(dataset, "PhotometricInterpretation")
    samples = 3 if photometric in COLORS else 1
    if photometric not in ("MONOCHROME1", "MONOCHROME2", *COLORS):
        raise ValueError(
            f"photometric interpretation {photometric!r} is not read; there are MONOCHROME1, MONOCHROME2, RGB"
        )
    if _count(dataset, "SamplesPerPixel", samples) != samples:
        raise ValueError(f"{photometric} has {samples} samples per pixel, not {_count(dataset, 'SamplesPerPixel')}")
    return photometric


def _decode(dataset: Dataset) -> np.ndarray:
    """Stored values as the tags lay them out. Raises anything."""
    from pydicom.pixels import get_decoder, pixel_array

    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return pixel_array(dataset, correct_unused_bits=False)  # `grey_levels` does, wherever the bits lie
    usable = [name for name in DECODERS if name in get_decoder(syntax).available_plugins]
    if syntax == JPEG_EXTENDED and dataset.BitsStored > 8:
        usable = [name for name in usable if name == "pylibjpeg"]  # the others decode 8 bits
    if not usable:
        raise ValueError(f"{syntax.name} needs a decoder: pip install pylibjpeg pylibjpeg-libjpeg, or python-gdcm")
    return pixel_array(dataset, decoding_plugin=usable[0])


def _upright(pixels: np.ndarray, orientation: tuple[str, str] | None) -> np.ndarray:
    """Turned so that rows run to the patient's left and columns to the feet, as far as `orientation` tells."""
    if orientation is None:
        return pixels
    rows, columns = orientation
    if _is_on_its_side(orientation):
        pixels, rows, columns = pixels.T, columns, rows
    if columns == "H":
        pixels = pixels[::-1]
    if rows == "R":
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _is_on_its_side(orientation: tuple[str, str] | None) -> bool:
    return orientation is not None and orientation[0] in "HF" and orientation[1] in "LRAP"


def _shape(dataset: Dataset) -> tuple[int, int]:
    """(rows, columns) as stored; 0 where there are none."""
    return _count(dataset, "Rows"), _count(dataset, "Columns")


def _orientation(dataset: Dataset) -> tuple[str, str] | None:
    letters = [part.strip()[:1].upper() for part in _text(dataset, "PatientOrientation").split("\\")]
    return tuple(letters) if len(letters) == 2 and all(letter and letter in "LRAPHF" for letter in letters) else None


def _spacing(dataset: Dataset, name: str) -> tuple[float, float] | None:
    try:
        row, column = (float(value) for value in dataset.get(name))
    except Exception:  # absent, one number, no number
        return None
    return (row, column) if min(row, column) > 0 and math.isfinite(row + column) else None


def _text(dataset: Dataset, name: str) -> str:
    """The tag as text, several values joined by a backslash; "" where there is none or it cannot be read."""
    try:
        value: Any = dataset.get(name)
        parts = [] if value is None else [value] if isinstance(value, str) else list(value)
        return _line("\\".join(str(part).strip(" \0") for part in parts))
    except Exception:
        return ""


def _count(dataset: Dataset, name: str, default: int = 0) -> int:
    try:
        value = dataset.get(name)
        return default if value is None or value == "" else int(value)
    except Exception as error:
        raise ValueError(f"its {name} makes no sense ({_line(error)})") from None


def _line(said: Exception | str) -> str:
    """What an error or a tag says, on one line of bearable length."""
    text = said if isinstance(said, str) else str(said) or type(said).__name__
    return " ".join("".join(c if c.isprintable() else " " for c in text[:1000]).split())[:200]
