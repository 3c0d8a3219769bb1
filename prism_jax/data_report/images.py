"""Images of a data report: a random sample, near duplicates, and suspected burned-in text."""

import itertools
from collections.abc import Callable, Hashable, Sequence
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
DRAWN = "Images drawn at random over sources, findings and patients"
NEAR, TEXT = "Near duplicates", "Suspected burned-in text"


def samples(folder: str | Path, survey: Survey, images: Sequence[ImageRecord]) -> tuple[report.Sample, ...]:
    """Up to `max_images` images of each kind, read from the data set in `folder`; `images` are those of the survey."""
    most = survey.config.max_images
    by_id = {image.id: image for image in images}
    opened = {split: pipeline.open_split(folder, split) for split in dict.fromkeys(image.split for image in images)}
    read = lambda image: opened[image.split][image.index]
    samples = []
    for example in map(read, drawn(images, most)):
        caption = f"{example.id}: {PLAIN.describe(example.attributes)}"
        samples.append(report.Sample(image=_padded(transforms.decode(example.image)), caption=caption, group=DRAWN))
    # Copies in two splits matter most, then those of different patients.
    worst = sorted(survey.duplicates, key=lambda pair: (pair.splits[0] == pair.splits[1], pair.is_one_patient))
    for pair in worst[:most]:
        first, second = (by_id[number] for number in pair.ids)
        whose = "same patient" if pair.is_one_patient else "different patients"
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


def drawn(images: Sequence[ImageRecord], count: int, *, seed: int = 0) -> list[ImageRecord]:
    """`count` images drawn at random: sources take turns, within a source its findings, and one image per patient.

    Patients come twice only where there are fewer than `count`.
    """
    order = [images[i] for i in np.random.default_rng(seed).permutation(len(images))]
    firsts = list({image.patient or image.id: image for image in reversed(order)}.values())
    ids = {image.id for image in firsts}
    others = [image for image in order if image.id not in ids]
    present = lambda image: frozenset(name for name, state in image.attributes.findings.items() if state)
    keys = (lambda image: image.source), present
    return [*_in_turn(firsts, *keys), *_in_turn(others, *keys)][:count]


def _in_turn(images: Sequence[ImageRecord], *keys: Callable[[ImageRecord], Hashable]) -> list[ImageRecord]:
    """The images, those of each value of the first key in turn, within one value by the other keys."""
    if not keys:
        return list(images)
    groups: dict[Hashable, list[ImageRecord]] = {}
    for image in images:
        groups.setdefault(keys[0](image), []).append(image)
    turns = itertools.zip_longest(*(_in_turn(group, *keys[1:]) for group in groups.values()))
    return [image for turn in turns for image in turn if image is not None]


def _with_text_boxes(example: schema.Example) -> report.Sample:
    pixels = transforms.decode(example.image)
    boxes = burned_in_text.detect(pixels)
    image = _padded(burned_in_text.outlined(pixels, boxes), TEXT_SIDE)
    return report.Sample(image=image, caption=f"{example.id}: {len(boxes)}", group=TEXT)


def _padded(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The whole image uint8 [side, side] on black, aspect ratio kept."""
    return to_uint8(transforms.to_input(pixels, side)[..., 0])
