"""Stream of labelled images for classifier training."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from prism_jax.data import targets
from prism_jax.data.schema import Attributes
from prism_jax.training import examples
from prism_jax.training.examples import Data


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
    drawn = examples.sample_from(data, sources, known)
    batches = examples.batches(data, drawn, batch_size=batch_size, seed=seed, factor=1)
    findings = (attributes.findings for found in known for attributes in found)
    weigh = examples.weights(data.class_weight_on, findings)
    return examples.Stream(batches, partial(labelled, names=names, weigh=weigh))


def positive_weights(labels: np.ndarray, at_most: float) -> np.ndarray:
    """float32 [n]: weight of positive examples of each target relative to negative ones, so that both classes weigh the
    same.

    Args:
      labels: float32 [m, n], 1, 0 or NaN.
      at_most: the largest weight, and one over the smallest; 1: all weigh the same.
    """
    with_it, without = np.nansum(labels, axis=0), np.nansum(1 - labels, axis=0)
    return np.clip(without / np.maximum(with_it, 1), 1 / at_most, at_most).astype(np.float32)
