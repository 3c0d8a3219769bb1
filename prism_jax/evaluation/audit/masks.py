"""Location of the changes by edits: fraction inside masks of anatomy and devices."""

import dataclasses

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
    masks = {image: dict(of_image) for image, of_image in cases.masks.items()}
    if config is not None:
        for image, drawn in _drawn(cases, config).items():
            masks.setdefault(image, {}).update(drawn)
    unknown = lambda: np.full(len(cases), np.nan)
    names = sorted({name for of_image in masks.values() for name in of_image})
    fractions = {name: Inside(change=unknown(), area=unknown()) for name in names}
    for place, image in enumerate(cases.images):
        if not masks.get(image):
            continue
        edited, before = (next(cases.pixels(kind, [place])) for kind in ("edited", "reconstruction"))
        change = np.abs(edited.astype(np.int16) - before).astype(np.float64)
        for name, mask in masks[image].items():
            if mask.any():
                fractions[name].change[place] = change[mask].sum() / change.sum() if change.any() else np.nan
                fractions[name].area[place] = mask.mean()
    return fractions


def _drawn(cases: Cases, config: PhantomConfig) -> dict[str, dict[str, np.ndarray]]:
    """Region of each finding in each phantom image, from rendering it with and without the finding."""
    rows = [cases.cases[place].row for place in cases.firsts]
    numbers = np.array([row["number"] for row in rows])
    options = dict(seed=config.seed, size=config.size, equations=phantom.Equations.preset(config.preset))
    drawn = {name: phantom.change_mask(numbers, {name: 1}, before={name: 0}, **options) for name in FINDINGS}
    return {row["id"]: {name: masks[i] for name, masks in drawn.items()} for i, row in enumerate(rows)}
