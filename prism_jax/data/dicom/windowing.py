"""From stored DICOM values to 8-bit grey levels: modality rescale or table, then VOI table or window."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom import Dataset

Range = tuple[float, float]


def to_8_bits(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Grey levels uint8 of integer `stored` values of any shape. May raise any exception where tags are broken."""
    bits, is_signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
    allocated = int(dataset.BitsAllocated)
    if not 1 <= bits <= allocated <= 32:
        raise ValueError(f"stored bits must be between 1 and the {allocated} allocated (at most 32), got {bits}")
    values = _used_bits(dataset, stored, bits, is_signed)
    limits = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if is_signed else (0.0, 2.0**bits - 1)
    values, limits = _rescaled(dataset, values, limits)
    fraction = _fraction(dataset, values, limits)  # [0, 1]
    return np.round(fraction * 255).astype(np.uint8)


def _used_bits(dataset: Dataset, stored: np.ndarray, bits: int, is_signed: bool) -> np.ndarray:
    """The values without overlays, which old files keep in unused bits. Decoders of compressed files remove those."""
    lowest = int(dataset.get("HighBit", bits - 1)) - bits + 1
    if lowest < 0:
        raise ValueError(f"high bit {lowest + bits - 1} is too low for {bits} stored bits")
    if dataset.file_meta.TransferSyntaxUID.is_compressed or (lowest == 0 and bits == 8 * stored.itemsize):
        return stored
    wide = (stored.astype(np.int64) >> lowest) & (2**bits - 1)
    return np.where(wide >= 2 ** (bits - 1), wide - 2**bits, wide) if is_signed else wide


def _rescaled(dataset: Dataset, values: np.ndarray, limits: Range) -> tuple[np.ndarray, Range]:
    if dataset.get("ModalityLUTSequence"):
        looked_up, bits = _through_table(dataset, dataset.ModalityLUTSequence[0], values)
        return looked_up, (0.0, 2.0**bits - 1)
    slope = _first(dataset.get("RescaleSlope"), 1.0)
    intercept = _first(dataset.get("RescaleIntercept"), 0.0)
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise ValueError(f"rescale slope {slope} and intercept {intercept} are not valid")
    if (slope, intercept) == (1, 0):
        return values, limits
    low, high = sorted(slope * limit + intercept for limit in limits)
    return values * slope + intercept, (low, high)


def _fraction(dataset: Dataset, values: np.ndarray, limits: Range) -> np.ndarray:
    """Each value as a fraction from black (0) to white (1)."""
    if dataset.get("VOILUTSequence"):
        looked_up, bits = _through_table(dataset, dataset.VOILUTSequence[0], np.round(values).astype(np.int64))
        return np.clip(looked_up / (2.0**bits - 1), 0.0, 1.0)
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if center is None or width is None:
        return (values - limits[0]) / (limits[1] - limits[0])
    return windowed(values, center, width, str(dataset.get("VOILUTFunction") or "LINEAR").strip())


def windowed(values: np.ndarray, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Windowed values in [0, 1]: DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    least = 1.0 if function == "LINEAR" else 0.0
    if not (math.isfinite(center) and math.isfinite(width)) or width < least or width == 0:
        raise ValueError(f"window width must be at least {least:g} ({function}), got center {center}, width {width}")
    if function == "LINEAR":
        return np.clip((values - (center - 0.5)) / max(width - 1, 1e-6) + 0.5, 0.0, 1.0)
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -500, 500)))
    raise ValueError(f"VOI LUT function must be LINEAR, LINEAR_EXACT or SIGMOID, got {function!r}")


def _through_table(dataset: Dataset, item: Dataset, values: np.ndarray) -> tuple[np.ndarray, int]:
    """(Values looked up in a table of the file, bits of its entries)."""
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count = count or 2**16
    table = _entries(dataset, item, count)
    if not 8 <= bits <= 16 or len(table) < count:
        raise ValueError(f"its table has {len(table)} of {count} entries of {bits} bits")
    return table[np.clip(values.astype(np.int64) - first, 0, count - 1)], bits


def _entries(dataset: Dataset, item: Dataset, count: int) -> np.ndarray:
    data = item.LUTData
    if not isinstance(data, bytes):
        return np.asarray(data, np.int64).reshape(-1)
    if len(data) < 2 * count:  # entries of one byte
        return np.frombuffer(data, np.uint8).astype(np.int64)
    order = ">" if dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.2" else "<"
    return np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2").astype(np.int64)


def _first(value, default: float | None = None) -> float | None:
    """The first of one or several numbers; `default` where there is none."""
    if value is None or value == "":
        return default
    return float(value if isinstance(value, (int, float, str)) else value[0])
