"""One pass over a built data set: attributes, fingerprint and burned-in text of every image."""

import dataclasses
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from prism_jax.data import built_folder, schema, transforms
from prism_jax.data.built_folder import INFO_FILE
from prism_jax.data.loading import pipeline
from prism_jax.data_report import burned_in_text, duplicates

CHUNK = 256  # images submitted to the threads at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """One image of a data set, without its pixels."""

    id: int
    split: str
    index: int  # in its split
    patient: str
    study: str
    has_text: bool
    has_spacing: bool
    has_masks: bool
    height: int  # of the original, pixels
    width: int
    source: str  # topmost folder of its file; "" where all files are in one
    attributes: schema.Attributes
    fingerprint: np.ndarray  # uint64 [duplicates.WORDS]
    text_boxes: int  # suspected burned-in text


def splits(folder: str | Path) -> dict[str, int]:
    """Images per split of the data set in `folder`; a one-line ValueError where there is none."""
    built_folder.check(folder)
    file = Path(folder) / INFO_FILE
    try:
        splits = json.loads(file.read_text())["splits"]
        counts = {split["name"]: sum(map(int, split["shardLengths"])) for split in splits}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} cannot be read ({error!r}); build the data set again") from None
    order = (*schema.SPLITS, *sorted(counts))
    return dict(sorted(counts.items(), key=lambda item: order.index(item[0])))


def scan(folder: str | Path, *, threads: int = 2) -> list[ImageRecord]:
    """All images, by split and index; progress is shown on stderr."""
    records, counts = [], splits(folder)
    with ThreadPoolExecutor(threads) as pool, tqdm(total=sum(counts.values()), unit="image", desc="reading") as bar:
        for split, count in counts.items():
            examples = pipeline.open_split(folder, split)
            for start in range(0, count, CHUNK):
                indices = range(start, min(start + CHUNK, count))
                records += pool.map(partial(_read, examples, split), indices)
                bar.update(len(indices))
    return records


def patients(images: list[ImageRecord]) -> np.ndarray:
    """The patient of each image as a number, int64 [n]; an image without a patient counts as a patient of its own."""
    names = [image.patient or f"\0{number}" for number, image in enumerate(images)]
    return np.unique(np.array(names), return_inverse=True)[1]


def _read(examples: Sequence[schema.Example], split: str, index: int) -> ImageRecord:
    example = examples[index]
    try:
        pixels = transforms.decode(example.image)
    except ValueError as error:
        raise ValueError(f"image {example.id} of {split} {error}; build the data set again") from None
    findings = {name.replace("_", " "): state for name, state in example.attributes.findings.items()}  # as captions
    return ImageRecord(
        id=example.id,
        split=split,
        index=index,
        patient=example.patient,
        study=example.study,
        has_text=bool(example.text),
        has_spacing=example.spacing is not None,
        has_masks=bool(example.masks),
        height=example.height,
        width=example.width,
        source=example.path.partition("/")[0] if "/" in example.path else "",
        attributes=dataclasses.replace(example.attributes, findings=findings),
        fingerprint=duplicates.fingerprint(pixels),
        text_boxes=len(burned_in_text.detect(pixels)),
    )
