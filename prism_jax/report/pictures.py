"""The pictures that a report holds, as plain data. Images are 8-bit grey levels, uint8 [h, w]."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordMap:
    """Where a word of a prompt looked, over the picture that the prompt describes."""

    word: str
    map: np.ndarray  # float [h', w'], at least 0: a pixel's share of attention; any size, it is enlarged
    image: np.ndarray  # uint8 [h, w]
    is_edited: bool = True  # of the edited prompt; or else of the source prompt
    is_changed: bool = False  # the other prompt does not have it there

    def __post_init__(self) -> None:
        check_image(self.image, f"picture under the map of {self.word!r}", np.shape(self.image))
        if np.ndim(self.map) != 2 or not np.all(np.asarray(self.map) >= 0):
            raise ValueError(f"map of {self.word!r} is {np.shape(self.map)}; numbers [h, w] of at least 0 are needed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditRow:
    """One edit of one subject: what went in, what came out, and the truth where it is known."""

    subject: str
    edit: str  # a name shared by the rows of one edit, for example "remove pacemaker"
    source_prompt: str
    edited_prompt: str
    original: np.ndarray
    reconstruction: np.ndarray
    edited: np.ndarray
    truth: np.ndarray | None = None
    mask: np.ndarray | None = None  # bool [h, w], where the truth changes
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)  # label -> value, shown under the row
    rank: str = ""  # of a row that was chosen: "best", "median" ...; empty: shown as it came
    words: tuple[WordMap, ...] = ()

    def __post_init__(self) -> None:
        shape = np.shape(self.original)
        for name in ("original", "reconstruction", "edited", "truth"):
            if (image := getattr(self, name)) is not None:
                check_image(image, f"{name} of subject {self.subject}, {self.edit}", shape)
        if self.mask is not None and (np.shape(self.mask) != shape or self.mask.dtype != bool):
            found = f"{np.asarray(self.mask).dtype} {np.shape(self.mask)}"
            raise ValueError(f"mask of subject {self.subject} is {found}; it must be bool {shape}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One picture with its caption; samples of one `group` are shown together."""

    image: np.ndarray
    caption: str
    group: str = "Training data"

    def __post_init__(self) -> None:
        check_image(self.image, f"sample {self.caption!r}", np.shape(self.image))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strip:
    """Pictures of one subject beside each other, for example what several runs made of it."""

    title: str
    pictures: tuple[Sample, ...]  # their groups are not shown
    group: str = "The same subject"
    metrics: Mapping[str, str] = dataclasses.field(default_factory=dict)  # label -> value, shown under the pictures

    def __post_init__(self) -> None:
        if not self.pictures:
            raise ValueError(f"strip {self.title!r} has no pictures; leave it out")


def check_image(image: np.ndarray, what: str, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless `image` is uint8 of this shape [h, w]."""
    if np.asarray(image).dtype != np.uint8 or np.ndim(image) != 2 or np.shape(image) != shape:
        found = f"{np.asarray(image).dtype} {np.shape(image)}"
        raise ValueError(f"{what} is {found}; a grey image uint8 {shape if len(shape) == 2 else '[h, w]'} is needed")
