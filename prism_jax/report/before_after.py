"""Before and after of one edit as a single labelled image."""

from collections.abc import Mapping, Sequence
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from prism_jax.report.figures import DENSER, LESS_DENSE

PANEL = 384  # least side of a panel in pixels; smaller images are enlarged by a whole factor
MARGIN, LINE = 24, 26  # pixels
TITLE, TEXT = 22, 17  # font sizes
PAPER, INK, FAINT = (17, 19, 24), (240, 240, 240), (170, 176, 186)


def sheet(title: str, panels: Mapping[str, np.ndarray], lines: Sequence[str]) -> np.ndarray:
    """Panels side by side under their names, uint8 [h, w, 3].

    Args:
      title: one line above.
      panels: name -> uint8 [h, w] or [h, w, 3], all of one size.
      lines: text below; long lines are wrapped.
    """
    images = [_enlarged(image) for image in panels.values()]
    width = MARGIN + sum(image.width + MARGIN for image in images)
    title_font, font = (ImageFont.load_default(size) for size in (TITLE, TEXT))
    letters = int((width - 2 * MARGIN) / font.getlength("n"))
    text = [row for line in lines for row in wrap(line, letters, subsequent_indent="    ")]
    top = MARGIN + TITLE + MARGIN + LINE
    legend = top + images[0].height + MARGIN // 2
    page = Image.new("RGB", (width, legend + LINE * (len(text) + 1) + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN), title, INK, title_font)
    for place, (name, image) in enumerate(zip(panels, images, strict=True)):
        left = MARGIN + place * (image.width + MARGIN)
        draw.text((left, top - LINE), name, INK, font)
        page.paste(image, (left, top))
    left = MARGIN + (len(images) - 1) * (images[0].width + MARGIN)
    for colour, words in ((DENSER, "denser"), (LESS_DENSE, "less dense")):
        draw.rectangle((left, legend + 3, left + 14, legend + 17), fill=colour)
        draw.text((left + 22, legend), words, FAINT, font)
        left += 40 + int(font.getlength(words))
    for row, line in enumerate(text):
        draw.text((MARGIN, legend + LINE * (row + 1)), line, FAINT, font)
    return np.asarray(page)


def _enlarged(image: np.ndarray) -> Image.Image:
    """At least PANEL pixels wide, in colour; by cubic interpolation, as a viewer would show it."""
    factor = max(1, -(-PANEL // image.shape[1]))
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return Image.fromarray(image).convert("RGB").resize(size, Image.Resampling.BICUBIC)
