"""True counterfactuals and true effects of phantom subjects."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from prism_jax.data import phantom
from prism_jax.data.captions.templates import PLAIN, Template
from prism_jax.data.phantom.equations import intervene
from prism_jax.data.sources.build import read_build
from prism_jax.data.sources.phantom import PhantomConfig, intervention
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.subjects import Subject

DO_NOTHING, AUTOENCODER, ORACLE = "do nothing", "autoencoder only", "oracle"


def phantom_config(folder: str | Path) -> PhantomConfig | None:
    """Rendering options of the phantom data set in `folder`; None for other data."""
    if Path(folder).suffix == ".csv":
        return None
    _, config = read_build(folder)
    return config if isinstance(config, PhantomConfig) else None


def check(edits: Sequence[EditSpec], subjects: Sequence[Subject], config: PhantomConfig | None) -> None:
    """Raises ValueError for an edit that the phantom cannot render; other data sets are not checked."""
    for subject in subjects if config else ():
        for number in subject.edits:
            intervention(edits[number].values(subject.attributes))


def true_counterfactuals(
    rows: Sequence[Mapping[str, Any]], edit: EditSpec, config: PhantomConfig, wording: Template = PLAIN
) -> tuple[np.ndarray, np.ndarray]:
    """The subjects of these rows under the surgical intervention, uint8 [n, h, w], and its region, bool [n, h, w].

    Raises:
      ValueError: an attribute or value that the phantom does not have.
    """
    numbers = np.array([row["number"] for row in rows])
    # The same for all: every caption states the same attributes.
    attributes = wording.parse(rows[0]["source_prompt"])
    omitted = dict.fromkeys(wording.omitted)  # can be edited all the same
    attributes = dataclasses.replace(attributes, findings={**attributes.findings, **omitted})
    do = intervention(edit.values(attributes))
    options = dict(seed=config.seed, size=config.size, equations=phantom.Equations.preset(config.preset))
    images = phantom.generate(numbers, do=do, mode="surgical", **options).images
    return images, phantom.change_mask(numbers, do, **options)


def true_effects(
    rows: Sequence[Mapping[str, Any]],
    edit: EditSpec,
    config: PhantomConfig,
    wording: Template = PLAIN,
    *,
    mode: str = "graph",
) -> dict[str, np.ndarray]:
    """True effect of an edit on every attribute of the subjects of these rows, by name, float64 [n].

    The value under the intervention less the factual one: years of age, 1 and -1 of findings, of sex (M) and of view
    (AP), and the cardiothoracic ratio. Mode "graph" is the interventional effect, in which descendants follow; under
    "surgical" only the edited attribute, and its appearance, changes: that is what an edit of the image should do.

    Raises:
      ValueError: an attribute or value that the phantom does not have.
    """
    numbers = np.array([row["number"] for row in rows], np.int32)
    do = intervention(edit.values(wording.parse(rows[0]["source_prompt"])))
    phantom.check_intervention(do, mode)
    options = dict(equations=phantom.Equations.preset(config.preset), is_surgical=mode == "surgical")
    before, after = (_facts(config.seed, numbers, *_plan(how), **options) for how in ({}, do))
    return {name: np.asarray(after[name], np.float64) - np.asarray(before[name], np.float64) for name in before}


def _plan(do: Mapping[str, float]) -> tuple[dict[str, np.ndarray], dict[str, bool]]:
    """Values of all attributes, and flags of those that are set: one compiled program serves every intervention."""
    kinds = {name: np.float32 if name == "age" else np.int32 for name in phantom.ATTRIBUTES}
    given = {name: kind(do.get(name, 0)) for name, kind in kinds.items()}
    return given, {name: name in do for name in phantom.ATTRIBUTES}


@partial(jax.jit, static_argnames="equations")
def _facts(
    seed: int,
    numbers: np.ndarray,
    given: Mapping[str, np.ndarray],
    chosen: Mapping[str, bool],
    *,
    equations: phantom.Equations,
    is_surgical: bool,
) -> dict[str, jax.Array]:
    """The attributes and the cardiothoracic ratio of subjects [n]."""

    def one(number):
        u = phantom.exogenous(seed, number)
        facts = intervene(u, equations, given, chosen, is_surgical)
        return facts | {"cardiothoracic_ratio": phantom.cardiothoracic_ratio(facts, u)}

    return jax.vmap(one)(numbers)
