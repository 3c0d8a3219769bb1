"""Labelled images for classifier training: a stream of batches, and arrays in memory."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from prism_jax.data import targets
from prism_jax.data.loading import pipeline
from prism_jax.data.schema import Attributes
from prism_jax.pixels import to_uint8
from prism_jax.training import examples
from prism_jax.training.examples import Data

READ_AT_ONCE = 64


def labelled(batch: Mapping[str, Any], *, names: Sequence[str], weigh: Any) -> dict[str, np.ndarray]:
    """The numbers of a batch: "image" float32 [b, h, w, 1] in [-1, 1], "labels" float32 [b, n] (1, 0 or NaN where not
    known), "age" float32 [b] (years or NaN), "id" int64 [b] and "weight" float32 [b]."""
    known = batch["attributes"]
    return {
        "image": batch["image"][..., :1],
        "labels": targets.values(known, names),
        "age": targets.ages(known),
        "id": batch["id"],
        "weight": np.array([weigh(attributes.findings) for attributes in known], np.float32),
    }


def known_of(data: Data) -> list[list[Attributes]]:
    """The attributes of every example of `data`, by data set; reads each once."""
    return [[example.attributes for example in source] for source in examples.open_all(data)]


def stream(
    data: Data, names: Sequence[str], known: Sequence[Sequence[Attributes]], *, batch_size: int, seed: int
) -> examples.Stream:
    """The images of `data` with the targets `names`; each process gets its part of `batch_size`.

    Args:
      known: as `known_of` gives it.
    """
    sources = examples.open_all(data)
    by_source = {id(source): list(found) for source, found in zip(sources, known, strict=True)}
    drawn = examples.sample_from(data, sources, lambda source: by_source[id(source)])
    batches = examples.batches(data, drawn, batch_size=batch_size, seed=seed, factor=1)
    findings = (attributes.findings for found in known for attributes in found)
    weigh = examples.weights(data.class_weight_on, findings)
    return examples.Stream(batches, partial(labelled, names=names, weigh=weigh))


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOut:
    """n examples in the order of the build."""

    images: np.ndarray  # uint8 [n, h, w], grey
    attributes: tuple[Attributes, ...]
    patients: np.ndarray  # str [n]


def held_out(data: Data) -> HeldOut:
    """All images of one split in memory; ValueError where there is no such data set or split."""
    source = examples.open_split(data)
    batches = pipeline.batches(source, READ_AT_ONCE, size=data.size, fit=data.fit, factor=1, crop=data.crop)
    images = [to_uint8(batch["image"][batch["mask"]][..., 0]) for batch in batches]
    labelled = [(example.attributes, example.patient) for example in source]
    return HeldOut(
        images=np.concatenate(images),
        attributes=tuple(attributes for attributes, _ in labelled),
        patients=np.array([patient for _, patient in labelled]),
    )


def positive_weights(labels: np.ndarray, at_most: float) -> np.ndarray:
    """float32 [n]: weight of positive examples of each target relative to negative ones, so that both classes weigh the
    same.

    Args:
      labels: float32 [m, n], 1, 0 or NaN.
      at_most: the largest weight, and one over the smallest; 1: all weigh the same.
    """
    with_it, without = np.nansum(labels, axis=0), np.nansum(1 - labels, axis=0)
    return np.clip(without / np.maximum(with_it, 1), 1 / at_most, at_most).astype(np.float32)
