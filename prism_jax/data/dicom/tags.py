"""Tags of a DICOM file that describe the patient and the image; invalid values count as unknown."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydicom import Dataset

SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tags:
    """Tags of one file, for the upright image. None or "" where missing or invalid."""

    age: float | None  # years
    sex: Literal["M", "F"] | None
    view: str | None  # View Position unchanged: "PA", "AP", "LL", ...
    spacing: (
        tuple[float, float] | None
    )  # mm between rows and between columns; at the detector where unknown at the body
    height: int  # pixels
    width: int
    study: str  # Study Instance UID
    modality: str  # "CR", "DX", ...
    body_part: str  # Body Part Examined, unchanged: "CHEST", ...
    orientation: tuple[str, str] | None  # directions of rows and columns: ("L", "F") for an upright frontal image


def of(dataset: Dataset) -> Tags:
    """The tags of a dataset. Raises ValueError where height or width is not a number."""
    sex = text(dataset, "PatientSex").upper()
    spacing = next(filter(None, (_spacing(dataset, name) for name in SPACINGS)), None)
    orientation, sides = _orientation(dataset), shape(dataset)
    turn = slice(None, None, -1 if is_on_its_side(orientation) else 1)
    return Tags(
        age=parse_age(text(dataset, "PatientAge")),
        sex=sex if sex in ("M", "F") else None,
        view=text(dataset, "ViewPosition") or None,
        spacing=spacing and spacing[turn],
        height=sides[turn][0],
        width=sides[turn][1],
        study=text(dataset, "StudyInstanceUID"),
        modality=text(dataset, "Modality"),
        body_part=text(dataset, "BodyPartExamined"),
        orientation=orientation,
    )


def parse_age(text: str) -> float | None:
    """Years of an Age String: "062Y", "018M", "03W", "62" (years), ...; None where it is invalid."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*([DWMY]?)\s*", text, re.ASCII | re.IGNORECASE)
    if match is None:
        return None
    years = int(match[1]) * DAYS[match[2].upper() or "Y"] / DAYS["Y"]
    return years if years <= 130 else None


def is_on_its_side(orientation: tuple[str, str] | None) -> bool:
    """True if rows of the stored image run along the body."""
    return orientation is not None and orientation[0] in "HF" and orientation[1] in "LRAP"


def shape(dataset: Dataset) -> tuple[int, int]:
    """(rows, columns) as stored; 0 where there are none."""
    return count(dataset, "Rows"), count(dataset, "Columns")


def text(dataset: Dataset, name: str) -> str:
    """The tag as text, several values joined by a backslash; "" where there is none or it cannot be read."""
    try:
        value: Any = dataset.get(name)
        parts = [] if value is None else [value] if isinstance(value, str) else list(value)
        return one_line("\\".join(str(part).strip(" \0") for part in parts))
    except Exception:
        return ""


def count(dataset: Dataset, name: str, default: int = 0) -> int:
    """The tag as a whole number, `default` where there is none. Raises ValueError where it is no number."""
    try:
        value = dataset.get(name)
        return default if value is None or value == "" else int(value)
    except Exception as error:
        raise ValueError(f"its {name} is invalid ({one_line(error)})") from None


def one_line(said: Exception | str) -> str:
    """Text of an error or a tag on one line of at most 200 characters."""
    text = said if isinstance(said, str) else str(said) or type(said).__name__
    return " ".join("".join(c if c.isprintable() else " " for c in text[:1000]).split())[:200]


def _orientation(dataset: Dataset) -> tuple[str, str] | None:
    letters = [part.strip()[:1].upper() for part in text(dataset, "PatientOrientation").split("\\")]
    return tuple(letters) if len(letters) == 2 and all(letter and letter in "LRAPHF" for letter in letters) else None


def _spacing(dataset: Dataset, name: str) -> tuple[float, float] | None:
    try:
        row, column = (float(value) for value in dataset.get(name))
    except Exception:  # absent, one number, no number
        return None
    return (row, column) if min(row, column) > 0 and math.isfinite(row + column) else None
