"""True counterfactuals of the benchmark's edits, by the phantom's structural equations."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from prism_jax.data import phantom
from prism_jax.data.sources.phantom import PhantomConfig, attributes_of, intervention
from prism_jax.data.transforms import Fit
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation.benchmark.queries import Query, fitted
from prism_jax.evaluation.edits import EditSpec

Mode = Literal["surgical", "graph"]
MODES: tuple[Mode, ...] = ("surgical", "graph")
COVERED = 0.25  # a smaller image's pixel is in the mask from this covered fraction on, so that thin leads stay


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrueCounterfactuals:
    """The true counterfactuals of n queries, in order."""

    images: Mapping[Mode, np.ndarray]  # uint8 [n, h, w], at the rendered size
    attributes: Mapping[Mode, np.ndarray]  # of Attributes, [n]
    effects: Mapping[Mode, Mapping[str, np.ndarray]]  # change of each attribute, float64 [n]
    masks: np.ndarray  # bool [n, h, w]: where the edited attribute shows, without its descendants

    def fitted_images(self, mode: Mode, size: int, fit: Fit) -> np.ndarray:
        """uint8 [n, size, size]."""
        return np.stack([fitted(image, size, fit) for image in self.images[mode]])

    def fitted_masks(self, size: int) -> np.ndarray:
        """bool [n, size, size]."""
        if self.masks.shape[1:] == (size, size):
            return self.masks
        return np.stack([fitted(mask.astype(np.uint8) * 255, size) for mask in self.masks]) > 255 * COVERED


def of(queries: Sequence[Query], edits: Sequence[EditSpec], config: PhantomConfig) -> TrueCounterfactuals:
    """Renders the true counterfactual of every query; ValueError for an edit that the phantom cannot render."""
    order, parts = [], []
    for edit in edits:
        places = [i for i, query in enumerate(queries) if query.edit == edit.name]
        if places:
            order += places
            parts.append(_of_change([queries[i] for i in places], edit, config))
    back = np.argsort(order)
    joined = lambda read: np.concatenate([read(part) for part in parts])[back]
    return TrueCounterfactuals(
        images={mode: joined(lambda part, mode=mode: part.images[mode]) for mode in MODES},
        attributes={mode: joined(lambda part, mode=mode: part.attributes[mode]) for mode in MODES},
        effects={
            mode: {name: joined(lambda p, m=mode, name=name: p.effects[m][name]) for name in parts[0].effects[mode]}
            for mode in MODES
        },
        masks=joined(lambda part: part.masks),
    )


def _of_change(queries: Sequence[Query], edit: EditSpec, config: PhantomConfig) -> TrueCounterfactuals:
    numbers = np.array([query.subject.number for query in queries])
    do = intervention(edit.values(queries[0].source))  # the same for all: every phantom has the same attributes
    options = dict(seed=config.seed, size=config.size, equations=phantom.Equations.preset(config.preset))
    rendered = {mode: phantom.generate(numbers, do=do, mode=mode, **options) for mode in MODES}
    rows = [{"number": query.subject.number, "source_prompt": query.subject.prompt} for query in queries]
    return TrueCounterfactuals(
        images={mode: batch.images for mode, batch in rendered.items()},
        attributes={mode: _attributes(batch.attributes, len(queries)) for mode, batch in rendered.items()},
        effects={
            mode: ground_truth.true_effects(rows, edit, config, queries[0].subject.wording, mode=mode) for mode in MODES
        },
        masks=phantom.change_mask(numbers, do, **options),
    )


def _attributes(columns: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    rows = [attributes_of({name: column[i] for name, column in columns.items()}) for i in range(count)]
    return np.array(rows, dtype=object)
