"""True counterfactuals of the benchmark's edits, by the phantom's structural equations."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from prism_jax.data import phantom
from prism_jax.data.sources.phantom import PhantomConfig, attributes_of
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation.benchmark.queries import Query, fitted
from prism_jax.evaluation.edits import EditSpec

Mode = Literal["surgical", "graph"]
MODES: tuple[Mode, ...] = ("surgical", "graph")
COVERED = 0.25  # a smaller image's pixel is in the mask from this covered fraction on, so that thin leads stay


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrueCounterfactuals:
    """The true counterfactuals of n queries, in order."""

    images: Mapping[Mode, np.ndarray]  # uint8 [n, h, w]
    attributes: Mapping[Mode, np.ndarray]  # of Attributes, [n]
    masks: np.ndarray  # bool [n, h, w]: where the edited attribute shows, without its descendants

    def fitted(self, size: int) -> "TrueCounterfactuals":
        """The same with images and masks of another size."""
        resized = lambda images: np.stack([fitted(image, size) for image in images])  # phantoms are square
        images = {mode: resized(images) for mode, images in self.images.items()}
        masks = resized(self.masks.astype(np.uint8) * 255) > 255 * COVERED
        return dataclasses.replace(self, images=images, masks=masks)


def of(queries: Sequence[Query], edits: Sequence[EditSpec], config: PhantomConfig) -> TrueCounterfactuals:
    """Renders the true counterfactual of every query; ValueError for an edit that the phantom cannot render."""
    shape = (len(queries), config.size, config.size)
    images = {mode: np.empty(shape, np.uint8) for mode in MODES}
    attributes = {mode: np.empty(len(queries), object) for mode in MODES}
    masks = np.empty(shape, bool)
    for edit in edits:
        rows = [i for i, query in enumerate(queries) if query.edit == edit.name]
        numbers = np.array([queries[i].subject.number for i in rows])
        for mode in MODES:
            subjects = ground_truth.true_counterfactuals(numbers, edit, config, mode)
            images[mode][rows] = subjects.images
            columns = zip(*subjects.attributes.values(), strict=True)
            attributes[mode][rows] = [attributes_of(dict(zip(phantom.ATTRIBUTES, row, strict=True))) for row in columns]
        masks[rows] = ground_truth.change_mask(numbers, edit, config)
    return TrueCounterfactuals(images=images, attributes=attributes, masks=masks)
