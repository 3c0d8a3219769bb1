"""Example schema, common to all builders and readers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

SPLITS = ("train", "val", "test")
FINDING = "finding"  # any finding; absent where a table states No Finding: captions read "no finding"
FINDING_STATES = ("absent", "present", "uncertain")  # order is the stored class number; new states go to the end
_STATES = (False, True, None)  # the same in an `Attributes`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attributes:
    """Attributes of one image; None in a slot, or a finding that is not a key, means unknown.

    `findings` maps a name to True (present), False (stated to be absent) or None (mentioned, but uncertain), in
    the order in which a caption states them. Devices are findings too. Not mentioned is not the same as absent.
    """

    age: float | None = None  # years
    sex: Literal["M", "F"] | None = None
    view: str | None = None  # "AP", "PA", "AP Supine", ...
    race: str | None = None  # as the source names it
    findings: Mapping[str, bool | None] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.sex not in ("M", "F", None):
            raise ValueError(f"sex must be 'M', 'F' or None, got {self.sex!r}")
        if self.age is not None and not (math.isfinite(self.age) and self.age >= 0):
            raise ValueError(f"age must be a number of years >= 0, or None where unknown, got {self.age}")
        for name, state in self.findings.items():
            if state is not None and not isinstance(state, bool):
                raise ValueError(f"{name} must be True (present), False (absent) or None (uncertain), got {state!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One stored image with its attributes and metadata."""

    id: int  # unique in the data set, below 2**31: row number of a folder's CSV, subject of the phantom
    image: bytes  # an encoded 8-bit PNG or JPEG
    height: int  # pixels of the original; the stored image may be smaller
    width: int
    patient: str  # splits never separate two images of one patient
    path: str  # the source file relative to the source folder; "" when generated
    subject: int  # phantom subject, from which ground truth is rendered; -1 for real images
    attributes: Attributes
    study: str = ""  # examination of the patient, perhaps of several images; "" where unknown
    text: str = ""  # report or note in the words of the source; "" where there is none
    spacing: tuple[float, float] | None = None  # mm between rows and between columns of the original's pixels
    masks: Mapping[str, bytes] = dataclasses.field(default_factory=dict)  # name -> encoded PNG, frame of the image


def features() -> tfds.features.FeaturesDict:
    """TFDS features of an `Example`: unknown age and spacing are NaN, unknown sex, view and race are empty."""
    import tensorflow_datasets as tfds

    text, state = tfds.features.Text, tfds.features.ClassLabel(names=list(FINDING_STATES))
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Scalar(np.int64),
            "image": tfds.features.Image(shape=(None, None, 1)),
            "height": tfds.features.Scalar(np.int32),
            "width": tfds.features.Scalar(np.int32),
            "patient": text(),
            "study": text(),
            "path": text(),
            "text": text(),
            "spacing": tfds.features.Tensor(shape=(2,), dtype=np.float32),
            "subject": tfds.features.Scalar(np.int64),
            "age": tfds.features.Scalar(np.float32),
            "sex": text(),
            "view": text(),
            "race": text(),
            "findings": tfds.features.Sequence({"name": text(), "state": state}),
            # Bytes, not an Image: only readers of masks decode them.
            "masks": tfds.features.Sequence({"name": text(), "png": tfds.features.Tensor(shape=(), dtype=np.object_)}),
        }
    )


def to_record(example: Example) -> dict:
    """The dict that TFDS writes; `from_record` reads it back."""
    record = {f.name: getattr(example, f.name) for f in dataclasses.fields(example) if f.name != "attributes"}
    attributes = example.attributes
    return record | {
        "spacing": np.array(example.spacing or (math.nan, math.nan), np.float32),
        "masks": [{"name": name, "png": png} for name, png in example.masks.items()],
        "age": math.nan if attributes.age is None else attributes.age,
        **{slot: getattr(attributes, slot) or "" for slot in ("sex", "view", "race")},
        "findings": [
            {"name": name, "state": FINDING_STATES[_STATES.index(state)]} for name, state in attributes.findings.items()
        ],
    }


def from_record(record: dict) -> Example:
    """The example of a dict as a TFDS data source yields it (image left encoded).

    Raises:
      ValueError: the record of a data set that was built with an older schema.
    """
    missing = sorted({"study", "text", "spacing", "race", "masks"} - record.keys())
    if missing:
        raise ValueError(f"the data set was built by an older version: no {', '.join(missing)}; build it again")
    down, across = (round(float(mm), 6) for mm in record["spacing"])  # as written, in spite of 32 bits
    return Example(
        image=record["image"],
        **{name: int(record[name]) for name in ("id", "height", "width", "subject")},
        **{name: _text(record[name]) for name in ("patient", "study", "path", "text")},
        spacing=None if math.isnan(down) else (down, across),
        masks=dict(zip(map(_text, record["masks"]["name"]), map(bytes, record["masks"]["png"]), strict=True)),
        attributes=_attributes(record),
    )


def _attributes(record: dict) -> Attributes:
    states = [_STATES[state] for state in record["findings"]["state"]]
    names = [_text(name) for name in record["findings"]["name"]]
    return Attributes(
        age=None if math.isnan(record["age"]) else float(record["age"]),
        **{slot: _text(record[slot]) or None for slot in ("sex", "view", "race")},
        findings=dict(zip(names, states, strict=True)),
    )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
