"""Encoding of the images that a page embeds: lossless PNG if there are few, else JPEG, reduced in size if necessary."""

import base64
import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

LOSSLESS_PIXELS = 6_000_000  # up to this many, about 5 MB, images are PNG
IMAGE_BYTES = 13_500_000  # of JPEG and of outlines: 18 MB as base64, and under 25 MB with the chart library and words
QUALITY = 90  # of JPEG, colours at full resolution
FACTORS = (1, 2, 3, 4, 6, 8)
TRIED = 40  # images encoded to estimate the size of all


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoding:
    """PNG, or JPEG of images whose sides are divided by `factor`."""

    is_lossless: bool = True
    factor: int = 1

    def encode(self, image: np.ndarray | Image.Image) -> bytes:
        """The file of uint8 [h, w] or [h, w, 3], or of a PIL image."""
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        buffer = io.BytesIO()
        if self.is_lossless:
            image.save(buffer, "PNG", optimize=True)
        else:
            image = image.reduce(self.factor) if self.factor > 1 else image
            image.save(buffer, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
        return buffer.getvalue()

    def uri(self, image: np.ndarray | Image.Image) -> str:
        """The file as a data URI."""
        kind = "png" if self.is_lossless else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.encode(image)).decode()}"

    @property
    def note(self) -> str:
        """A note for the reader; "" where nothing is lost."""
        if self.is_lossless:
            return ""
        smaller = f", their sides divided by {self.factor}," if self.factor > 1 else ""
        return (
            f"Images are embedded as JPEG (quality {QUALITY}){smaller} to keep the file small; all numbers were "
            "measured on the full images."
        )


def fitting(images: Sequence[np.ndarray], *, taken: int = 0) -> Encoding:
    """The best encoding under which all `images`, uint8 [h, w] or [h, w, 3], fit one page.

    `taken` bytes are used by other embedded data.

    Raises ValueError where even the strongest reduction does not fit.
    """
    sizes = np.array([image.shape[0] * image.shape[1] for image in images])
    if sizes.sum() <= LOSSLESS_PIXELS:
        return Encoding()
    # A random sample, as kinds of images alternate; the fixed seed makes a page a function of its report.
    tried = np.random.default_rng(0).permutation(len(images))[:TRIED]
    scale = sizes.sum() / sizes[tried].sum()
    for factor in FACTORS:
        encoding = Encoding(is_lossless=False, factor=factor)
        if scale * sum(len(encoding.encode(images[i])) for i in tried) <= IMAGE_BYTES - taken:
            return encoding
    raise ValueError(
        f"{len(images)} images do not fit a page of 25 MB even at 1/{FACTORS[-1]} of their sides; show fewer"
    )
