"""The true counterfactuals of phantom subjects."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.changes import Change, Subject
from prism_jax.data import phantom
from prism_jax.data.build import read_build
from prism_jax.data.phantom_dataset import FINDINGS, PhantomConfig


def phantom_config(folder: str | Path) -> PhantomConfig | None:
    """How the data set in `folder` was rendered, or None if it is not one of phantoms."""
    _, config = read_build(folder)
    return config if isinstance(config, PhantomConfig) else None


def true_counterfactuals(
    subjects: Sequence[Subject], change: Change, config: PhantomConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, h, w] of `subjects` under the surgical intervention, and bool masks of where it shows.

    Raises:
      ValueError: the change is not one of a binary finding of the phantom.
    """
    if change.attribute not in FINDINGS or not isinstance(change.value, bool):
        raise ValueError(f"the phantom has no mask for {change.name!r}; use one of {', '.join(FINDINGS)}")
    numbers = np.array([subject.example.subject for subject in subjects])
    options = dict(seed=config.seed, size=config.size, equations=phantom.Equations.preset(config.preset))
    images = phantom.generate(numbers, do={change.attribute: int(change.value)}, mode="surgical", **options).images
    return images, phantom.effect_mask(numbers, change.attribute, **options)
