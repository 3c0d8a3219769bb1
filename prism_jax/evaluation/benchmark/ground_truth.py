"""What the phantom's own equations make of the edits that are compared."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from prism_jax.data import phantom
from prism_jax.data.sources.phantom import PhantomConfig, attributes_of, intervention
from prism_jax.data.transforms import Fit
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation.benchmark.queries import Ask, fitted
from prism_jax.evaluation.edits import EditSpec

Mode = Literal["surgical", "graph"]
MODES: tuple[Mode, ...] = ("surgical", "graph")
COVERED = 0.25  # a smaller picture's pixel lies in a mask that covers so much of it: thin leads stay


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truths:
    """The true counterfactuals of n asks, in their order."""

    pictures: Mapping[Mode, np.ndarray]  # uint8 [n, h, w], as they are rendered
    attributes: Mapping[Mode, np.ndarray]  # of Attributes, [n]
    effects: Mapping[Mode, Mapping[str, np.ndarray]]  # what changed of each attribute, float64 [n]
    masks: np.ndarray  # bool [n, h, w]: where the attribute that is set shows, and nothing below it in the graph

    def fitted_pictures(self, mode: Mode, size: int, fit: Fit) -> np.ndarray:
        """uint8 [n, size, size]."""
        return np.stack([fitted(picture, size, fit) for picture in self.pictures[mode]])

    def fitted_masks(self, size: int) -> np.ndarray:
        """bool [n, size, size]."""
        if self.masks.shape[1:] == (size, size):
            return self.masks
        return np.stack([fitted(mask.astype(np.uint8) * 255, size) for mask in self.masks]) > 255 * COVERED


def of(asks: Sequence[Ask], edits: Sequence[EditSpec], config: PhantomConfig) -> Truths:
    """Renders the truth of every ask; ValueError for a change that the phantom cannot carry out."""
    order, parts = [], []
    for edit in edits:
        places = [i for i, ask in enumerate(asks) if ask.edit == edit.name]
        if places:
            order += places
            parts.append(_of_change([asks[i] for i in places], edit, config))
    back = np.argsort(order)
    joined = lambda read: np.concatenate([read(part) for part in parts])[back]
    return Truths(
        pictures={mode: joined(lambda part, mode=mode: part.pictures[mode]) for mode in MODES},
        attributes={mode: joined(lambda part, mode=mode: part.attributes[mode]) for mode in MODES},
        effects={
            mode: {name: joined(lambda p, m=mode, name=name: p.effects[m][name]) for name in parts[0].effects[mode]}
            for mode in MODES
        },
        masks=joined(lambda part: part.masks),
    )


def _of_change(asks: Sequence[Ask], edit: EditSpec, config: PhantomConfig) -> Truths:
    numbers = np.array([ask.subject.number for ask in asks])
    do = intervention(edit.values(asks[0].stated))  # the same for all: every phantom has the same attributes
    options = dict(seed=config.seed, size=config.size, equations=phantom.Equations.preset(config.preset))
    made = {mode: phantom.generate(numbers, do=do, mode=mode, **options) for mode in MODES}
    rows = [{"number": ask.subject.number, "source_prompt": ask.subject.prompt} for ask in asks]
    return Truths(
        pictures={mode: found.images for mode, found in made.items()},
        attributes={mode: _attributes(found.attributes, len(asks)) for mode, found in made.items()},
        effects={
            mode: ground_truth.true_effects(rows, edit, config, asks[0].subject.wording, mode=mode) for mode in MODES
        },
        masks=phantom.change_mask(numbers, do, **options),
    )


def _attributes(columns: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    rows = [attributes_of({name: column[i] for name, column in columns.items()}) for i in range(count)]
    return np.array(rows, dtype=object)
