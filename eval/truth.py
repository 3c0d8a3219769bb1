"""The true counterfactuals of phantom subjects."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.changes import Change
from eval.subjects import Subject
from prism_jax.data import phantom
from prism_jax.data.build import read_build
from prism_jax.data.phantom_dataset import PhantomConfig, intervention
from prism_jax.data.templates import PLAIN, Template


def phantom_config(folder: str | Path) -> PhantomConfig | None:
    """How the data set in `folder` was rendered, or None if it is not one of phantoms."""
    if Path(folder).suffix == ".csv":
        return None
    _, config = read_build(folder)
    return config if isinstance(config, PhantomConfig) else None


def check(changes: Sequence[Change], subjects: Sequence[Subject], config: PhantomConfig | None) -> None:
    """Raises ValueError for a change whose truth the phantom cannot render; nothing is known of other data sets."""
    for subject in subjects if config else ():
        for number in subject.changes:
            intervention(changes[number].values(subject.attributes))


def true_counterfactuals(
    rows: Sequence[Mapping[str, Any]], change: Change, config: PhantomConfig, wording: Template = PLAIN
) -> tuple[np.ndarray, np.ndarray]:
    """The subjects of these rows under the surgical intervention, uint8 [n, h, w], and where it shows, bool [n, h, w].

    Raises:
      ValueError: the change is not one of attributes and values that the phantom has.
    """
    numbers = np.array([row["number"] for row in rows])
    # The same for all: every caption names the same attributes.
    known = wording.parse(rows[0]["source_prompt"])
    omitted = dict.fromkeys(wording.omitted)  # may be changed all the same
    known = dataclasses.replace(known, findings={**known.findings, **omitted})
    do = intervention(change.values(known))
    options = dict(seed=config.seed, size=config.size, equations=phantom.Equations.preset(config.preset))
    images = phantom.generate(numbers, do=do, mode="surgical", **options).images
    return images, phantom.change_mask(numbers, do, **options)
