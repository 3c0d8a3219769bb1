"""The pictures of a data report: the first images, pairs that are nearly the same, and marks that are suspected."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prism_jax import report
from prism_jax.data import schema, transforms
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.loading import pipeline
from prism_jax.data_report import burned_in_text
from prism_jax.data_report.scan import Seen
from prism_jax.data_report.survey import Survey
from prism_jax.pixels import to_uint8
from prism_jax.report import figures

SIDE = 192  # pixels of a picture on the page
MARKED_SIDE = 320  # letters must stay readable
FIRST, NEAR, MARKED = "The first images by number", "Near duplicates", "Burned-in marks suspected"


def samples(folder: str | Path, survey: Survey, images: Sequence[Seen]) -> tuple[report.Sample, ...]:
    """Up to `shown` pictures of each kind, read from the data set in `folder`; `images` are those of the survey."""
    shown = survey.config.shown
    by_id = {one.id: one for one in images}
    opened = {split: pipeline.open_split(folder, split) for split in dict.fromkeys(one.split for one in images)}
    read = lambda one: opened[one.split][one.place]
    found = [_first(read(by_id[number])) for number in sorted(by_id)[:shown]]
    # Copies in two splits are worst, then those of two patients.
    worst = sorted(survey.duplicates, key=lambda pair: (pair.splits[0] == pair.splits[1], pair.is_one_patient))
    for pair in worst[:shown]:
        one, other = (by_id[number] for number in pair.ids)
        whose = "one patient" if pair.is_one_patient else "two patients"
        caption = f"{one.id} ({one.split}) and {other.id} ({other.split}), {whose}, similarity {pair.similarity:.2f}"
        both = figures.contact_sheet(
            [_framed(transforms.decode(read(which).image)) for which in (one, other)], columns=1
        )
        found.append(report.Sample(image=both, caption=caption, group=NEAR))
    for marked in survey.marked[:shown]:
        found.append(_marked(read(by_id[marked.id])))
    return tuple(found)


def _first(example: schema.Example) -> report.Sample:
    caption = f"{example.id}: {PLAIN.describe(example.attributes)}"
    return report.Sample(image=_framed(transforms.decode(example.image)), caption=caption, group=FIRST)


def _marked(example: schema.Example) -> report.Sample:
    pixels = transforms.decode(example.image)
    small = _framed(burned_in_text.outlined(pixels, ()), MARKED_SIDE)
    height, width = pixels.shape
    # Frames are drawn on the small picture, whose black borders share out differently.
    side = max(height, width)
    top, left = (side - height) / 2 / side, (side - width) / 2 / side
    frames = tuple(
        burned_in_text.Mark(
            top + mark.top * height / side,
            left + mark.left * width / side,
            top + mark.bottom * height / side,
            left + mark.right * width / side,
        )
        for mark in burned_in_text.find(pixels)
    )
    return report.Sample(
        image=burned_in_text.outlined(small, frames), caption=f"{example.id}: {len(frames)}", group=MARKED
    )


def _framed(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The whole picture uint8 [side, side], its aspect ratio kept, on black."""
    return to_uint8(transforms.to_input(pixels, side)[..., 0])
