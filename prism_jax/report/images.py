"""The images of a report, as plain data: 8-bit grey levels, uint8 [h, w]."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordMap:
    """Cross-attention map of one word of a prompt, over the image that the prompt describes."""

    word: str
    map: np.ndarray  # float [h', w'], at least 0: attention per pixel; any size, it is enlarged
    image: np.ndarray  # uint8 [h, w]
    is_edited: bool = True  # of the edited prompt; or else of the source prompt
    is_changed: bool = False  # the other prompt does not have it there

    def __post_init__(self) -> None:
        check_image(self.image, f"image under the map of {self.word!r}", np.shape(self.image))
        if np.ndim(self.map) != 2 or not np.all(np.asarray(self.map) >= 0):
            raise ValueError(f"map of {self.word!r} is {np.shape(self.map)}; numbers [h, w] of at least 0 are needed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditRow:
    """One edit of one subject: original, reconstruction, edit, and the true counterfactual where it is known."""

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
    rank: str = ""  # of a row selected by its result: "best", "median" ...; empty: drawn at random
    words: tuple[WordMap, ...] = ()

    def __post_init__(self) -> None:
        shape = np.shape(self.original)
        for name in ("original", "reconstruction", "edited", "truth"):
            if (image := getattr(self, name)) is not None:
                check_image(image, f"{name} of subject {self.subject}, {self.edit}", shape)
        if self.mask is not None and (np.shape(self.mask) != shape or self.mask.dtype != bool):
            actual = f"{np.asarray(self.mask).dtype} {np.shape(self.mask)}"
            raise ValueError(f"mask of subject {self.subject} is {actual}; it must be bool {shape}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One image with its caption; samples of one `group` are shown together."""

    image: np.ndarray
    caption: str
    group: str = "Training data"

    def __post_init__(self) -> None:
        check_image(self.image, f"sample {self.caption!r}", np.shape(self.image))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strip:
    """Images of one subject side by side, for example the edits of several runs."""

    title: str
    images: tuple[Sample, ...]  # their groups are not shown
    group: str = "The same subject"
    metrics: Mapping[str, str] = dataclasses.field(default_factory=dict)  # label -> value, shown under the images

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError(f"strip {self.title!r} has no images; leave it out")


def check_image(image: np.ndarray, what: str, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless `image` is uint8 of this shape [h, w]."""
    if np.asarray(image).dtype != np.uint8 or np.ndim(image) != 2 or np.shape(image) != shape:
        actual = f"{np.asarray(image).dtype} {np.shape(image)}"
        raise ValueError(f"{what} is {actual}; a grey image uint8 {shape if len(shape) == 2 else '[h, w]'} is needed")
