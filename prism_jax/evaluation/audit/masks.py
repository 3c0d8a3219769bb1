"""Location of the changes by edits: fraction inside masks of anatomy and devices."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from prism_jax.data import phantom
from prism_jax.data.sources.phantom import FINDINGS, PhantomConfig
from prism_jax.evaluation.edited_cohort import Cases


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inside:
    """Change inside one kind of mask; float64 [n], NaN where a case has no such mask or nothing changed."""

    change: np.ndarray  # fraction of the sum of |edit - reconstruction|
    area: np.ndarray  # fraction of the pixels: expected inside for a uniform change


def inside(cases: Cases, config: PhantomConfig | None) -> dict[str, Inside]:
    """By name of mask: those of the data set, and on the phantom the region of each finding."""
    masks = {image: dict(found) for image, found in cases.masks.items()}
    if config is not None:
        for image, drawn in _drawn(cases, config).items():
            masks.setdefault(image, {}).update(drawn)
    names = sorted({name for found in masks.values() for name in found})
    by_case = [_fractions(cases, place, masks.get(cases.images[place], {})) for place in range(len(cases))]
    nothing = (np.nan, np.nan)
    return {
        name: Inside(
            change=np.array([fractions.get(name, nothing)[0] for fractions in by_case]),
            area=np.array([fractions.get(name, nothing)[1] for fractions in by_case]),
        )
        for name in names
    }


def _fractions(cases: Cases, place: int, masks: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    if not masks:
        return {}
    edited, before = (next(cases.pixels(kind, [place])) for kind in ("edited", "reconstruction"))
    change = np.abs(edited.astype(np.int16) - before).astype(np.float64)
    total = change.sum()
    return {
        name: (float(change[mask].sum() / total) if total else np.nan, float(mask.mean()))
        for name, mask in masks.items()
        if mask.any()
    }


def _drawn(cases: Cases, config: PhantomConfig) -> dict[str, dict[str, np.ndarray]]:
    """Region of each finding in each phantom image, from rendering it with and without the finding."""
    rows = [cases.cases[place].row for place in cases.firsts]
    numbers = np.array([row["number"] for row in rows])
    options = dict(seed=config.seed, size=config.size, equations=phantom.Equations.preset(config.preset))
    drawn = {name: phantom.effect_mask(numbers, name, **options) for name in FINDINGS}
    return {row["id"]: {name: masks[i] for name, masks in drawn.items()} for i, row in enumerate(rows)}
