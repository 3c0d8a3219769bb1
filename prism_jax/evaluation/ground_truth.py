"""True counterfactuals of phantom subjects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prism_jax.data import phantom
from prism_jax.data.schema import Attributes
from prism_jax.data.sources.build import read_build
from prism_jax.data.sources.phantom import FINDINGS, PhantomConfig, intervention
from prism_jax.evaluation.edits import EditSpec

DO_NOTHING, AUTOENCODER, ORACLE = "do nothing", "autoencoder only", "oracle"


def phantom_config(folder: str | Path) -> PhantomConfig | None:
    """Rendering options of the phantom data set in `folder`; None for other data."""
    if Path(folder).suffix == ".csv":
        return None
    _, config = read_build(folder)
    return config if isinstance(config, PhantomConfig) else None


def check(edits: Sequence[EditSpec], config: PhantomConfig | None) -> None:
    """Raises ValueError for an edit that the phantom cannot render; other data sets are not checked."""
    for edit in edits if config else ():
        _intervention(edit)


def true_counterfactuals(
    numbers: np.ndarray, edit: EditSpec, config: PhantomConfig, mode: str = "surgical"
) -> phantom.Subjects:
    """The phantom subjects `numbers` (int [n]) after an edit. Mode "surgical": only the edited attributes change, as an
    edit of the image should do; "graph": their descendants follow.

    Raises:
      ValueError: an attribute or value that the phantom does not have.
    """
    return phantom.generate(numbers, do=_intervention(edit), mode=mode, **_options(config))


def change_mask(numbers: np.ndarray, edit: EditSpec, config: PhantomConfig) -> np.ndarray:
    """The region that a surgical edit changes, bool [n, h, w]."""
    return phantom.change_mask(numbers, _intervention(edit), **_options(config))


def _intervention(edit: EditSpec) -> dict[str, float]:
    """The same for every phantom: all have the same attributes, whatever a caption states of them."""
    return intervention(edit.values(Attributes(findings=dict.fromkeys(FINDINGS))))


def _options(config: PhantomConfig) -> dict[str, Any]:
    return dict(seed=config.seed, size=config.size, equations=phantom.Equations.preset(config.preset))
