"""How a page embeds its pictures: without loss while they are few, and the smaller the more there are."""

import base64
import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

LOSSLESS_PIXELS = 6_000_000  # up to these, some 5 MB, pictures are PNG
PICTURE_BYTES = 13_500_000  # of JPEG and of outlines: 18 MB as base64, and under 25 MB with the chart library and words
QUALITY = 90  # of JPEG, colours at full resolution
FACTORS = (1, 2, 3, 4, 6, 8)
TRIED = 40  # pictures that are encoded to find what all will take


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoding:
    """PNG, or JPEG of pictures whose sides are divided by `factor`."""

    is_lossless: bool = True
    factor: int = 1

    def encode(self, picture: np.ndarray | Image.Image) -> bytes:
        """The file of uint8 [h, w] or [h, w, 3], or of a PIL image."""
        image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        buffer = io.BytesIO()
        if self.is_lossless:
            image.save(buffer, "PNG", optimize=True)
        else:
            image = image.reduce(self.factor) if self.factor > 1 else image
            image.save(buffer, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
        return buffer.getvalue()

    def uri(self, picture: np.ndarray | Image.Image) -> str:
        """The file as a data URI."""
        kind = "png" if self.is_lossless else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.encode(picture)).decode()}"

    @property
    def note(self) -> str:
        """What a reader has to know of it."""
        if self.is_lossless:
            return ""
        smaller = f", their sides divided by {self.factor}," if self.factor > 1 else ""
        return (
            f"Pictures are embedded as JPEG (quality {QUALITY}){smaller} to keep the file small; all numbers were "
            "measured on the full pictures."
        )


def fitting(pictures: Sequence[np.ndarray], *, taken: int = 0) -> Encoding:
    """The best encoding under which all `pictures`, uint8 [h, w] or [h, w, 3], fit one page.

    `taken` are the bytes of what is embedded besides.

    Raises ValueError where they are too many for any.
    """
    sizes = np.array([picture.shape[0] * picture.shape[1] for picture in pictures])
    if sizes.sum() <= LOSSLESS_PIXELS:
        return Encoding()
    # Drawn, as kinds of pictures come in turn; one seed makes a page a function of its report.
    tried = np.random.default_rng(0).permutation(len(pictures))[:TRIED]
    scale = sizes.sum() / sizes[tried].sum()
    for factor in FACTORS:
        encoding = Encoding(is_lossless=False, factor=factor)
        if scale * sum(len(encoding.encode(pictures[i])) for i in tried) <= PICTURE_BYTES - taken:
            return encoding
    raise ValueError(
        f"{len(pictures)} pictures do not fit a page of 25 MB even at 1/{FACTORS[-1]} of their sides; show fewer"
    )
