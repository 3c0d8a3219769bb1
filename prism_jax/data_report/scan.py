"""Going once through a built data set: what is known of each image, and what its pixels tell."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from prism_jax.data import schema, transforms
from prism_jax.data.loading import pipeline
from prism_jax.data_report import burned_in_text, duplicates

CHUNK = 256  # images handed to the threads at once
INFO_FILE = "dataset_info.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """One image of a data set, without its picture."""

    id: int
    split: str
    place: int  # in its split
    patient: str
    study: str
    has_text: bool
    has_spacing: bool
    has_masks: bool
    height: int  # of the original, pixels
    width: int
    attributes: schema.Attributes
    fingerprint: np.ndarray  # uint64 [duplicates.WORDS]
    marks: int


def splits(folder: str | Path) -> dict[str, int]:
    """Images per split of the data set in `folder`; a one-line ValueError where there is none."""
    file = Path(folder) / INFO_FILE
    if not file.is_file():
        raise ValueError(f"no data set in {folder}; make one with: prism data build NAME --out {folder}")
    try:
        counts = {one["name"]: sum(map(int, one["shardLengths"])) for one in json.loads(file.read_text())["splits"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} cannot be read ({error!r}); build the data set again") from None
    order = (*schema.SPLITS, *sorted(counts))
    return dict(sorted(counts.items(), key=lambda item: order.index(item[0])))


def scan(folder: str | Path, *, threads: int = 2, progress: Callable[[], object] = lambda: None) -> list[Seen]:
    """All images, by split and place. `progress` is called after each."""
    found = []
    with ThreadPoolExecutor(threads) as pool:
        for split, count in splits(folder).items():
            examples = pipeline.open_split(folder, split)
            for start in range(0, count, CHUNK):
                places = range(start, min(start + CHUNK, count))
                for one in pool.map(lambda place, split=split, examples=examples: _see(examples, split, place), places):
                    found.append(one)
                    progress()
    return found


def patients(images: list[Seen]) -> np.ndarray:
    """The patient of each image as a number, int64 [n]; an image whose patient nobody knows is one of its own."""
    names = [one.patient or f"\0{number}" for number, one in enumerate(images)]
    return np.unique(np.array(names), return_inverse=True)[1]


def _see(examples: Sequence[schema.Example], split: str, place: int) -> Seen:
    example = examples[place]
    try:
        pixels = transforms.decode(example.image)
    except ValueError as error:
        raise ValueError(f"image {example.id} of {split} {error}; build the data set again") from None
    return Seen(
        id=example.id,
        split=split,
        place=place,
        patient=example.patient,
        study=example.study,
        has_text=bool(example.text),
        has_spacing=example.spacing is not None,
        has_masks=bool(example.masks),
        height=example.height,
        width=example.width,
        attributes=example.attributes,
        fingerprint=duplicates.fingerprint(pixels),
        marks=len(burned_in_text.find(pixels)),
    )
