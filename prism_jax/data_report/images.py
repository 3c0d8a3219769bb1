"""Sample images of a data report: the first images, near duplicates, and suspected burned-in text."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prism_jax import report
from prism_jax.data import schema, transforms
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.loading import pipeline
from prism_jax.data_report import burned_in_text
from prism_jax.data_report.scan import ImageRecord
from prism_jax.data_report.survey import Survey
from prism_jax.pixels import to_uint8
from prism_jax.report import figures

SIDE = 192  # pixels of an image on the page
TEXT_SIDE = 320  # pixels; letters must stay readable
FIRST, NEAR, TEXT = "First images by number", "Near duplicates", "Suspected burned-in text"


def samples(folder: str | Path, survey: Survey, images: Sequence[ImageRecord]) -> tuple[report.Sample, ...]:
    """Up to `max_images` images of each kind, read from the data set in `folder`; `images` are those of the survey."""
    most = survey.config.max_images
    by_id = {image.id: image for image in images}
    opened = {split: pipeline.open_split(folder, split) for split in dict.fromkeys(image.split for image in images)}
    read = lambda image: opened[image.split][image.index]
    samples = [_first(read(by_id[number])) for number in sorted(by_id)[:most]]
    # Copies in two splits are worst, then those of two patients.
    worst = sorted(survey.duplicates, key=lambda pair: (pair.splits[0] == pair.splits[1], pair.is_one_patient))
    for pair in worst[:most]:
        first, second = (by_id[number] for number in pair.ids)
        whose = "one patient" if pair.is_one_patient else "two patients"
        caption = (
            f"{first.id} ({first.split}) and {second.id} ({second.split}), {whose}, similarity {pair.similarity:.2f}"
        )
        both = figures.contact_sheet(
            [_padded(transforms.decode(read(which).image)) for which in (first, second)], columns=1
        )
        samples.append(report.Sample(image=both, caption=caption, group=NEAR))
    for image in survey.burned_in_text[:most]:
        samples.append(_with_text_boxes(read(by_id[image.id])))
    return tuple(samples)


def _first(example: schema.Example) -> report.Sample:
    caption = f"{example.id}: {PLAIN.describe(example.attributes)}"
    return report.Sample(image=_padded(transforms.decode(example.image)), caption=caption, group=FIRST)


def _with_text_boxes(example: schema.Example) -> report.Sample:
    pixels = transforms.decode(example.image)
    small = _padded(burned_in_text.outlined(pixels, ()), TEXT_SIDE)
    height, width = pixels.shape
    # Boxes are drawn on the small image, padded with black to a square.
    side = max(height, width)
    top, left = (side - height) / 2 / side, (side - width) / 2 / side
    boxes = tuple(
        burned_in_text.TextBox(
            top + box.top * height / side,
            left + box.left * width / side,
            top + box.bottom * height / side,
            left + box.right * width / side,
        )
        for box in burned_in_text.detect(pixels)
    )
    return report.Sample(image=burned_in_text.outlined(small, boxes), caption=f"{example.id}: {len(boxes)}", group=TEXT)


def _padded(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The whole image uint8 [side, side] on black, aspect ratio kept."""
    return to_uint8(transforms.to_input(pixels, side)[..., 0])
