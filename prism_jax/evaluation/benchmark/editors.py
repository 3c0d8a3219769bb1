"""What makes the pictures of a row: a Stable Diffusion, or nothing but what is known already."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax import StableDiffusion, editing, rng
from prism_jax.data.schema import Attributes
from prism_jax.evaluation.benchmark.ground_truth import Mode, Truths
from prism_jax.evaluation.benchmark.methods import TRUE_MASKS, Bracket, Editor
from prism_jax.evaluation.benchmark.queries import Ask
from prism_jax.evaluation.ground_truth import AUTOENCODER, ORACLE
from prism_jax.pixels import rgb_from_uint8, to_uint8


class Maker(Protocol):
    """What makes counterfactuals of square pictures uint8 [b, size, size], b of them at a time."""

    size: int

    def shown(self, asks: Sequence[Ask]) -> list[Attributes]:
        """What the counterfactuals are to show: `wanted`, and what follows from it in a graph."""

    def make(self, pictures: np.ndarray, asks: Sequence[Ask]) -> np.ndarray:
        """The counterfactuals, uint8 [b, size, size]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextEditor:
    """Inverts and edits, one edit a picture."""

    sd: StableDiffusion
    row: Editor
    masks: Mapping[tuple[str, str], np.ndarray]  # by ask, bool [size, size]; empty: none, or predicted ones

    @property
    def size(self) -> int:
        return self.sd.size

    def shown(self, asks: Sequence[Ask]) -> list[Attributes]:
        return [ask.wanted for ask in asks]

    def make(self, pictures: np.ndarray, asks: Sequence[Ask]) -> np.ndarray:
        prompts = [ask.subject.wording.describe(ask.stated) for ask in asks]
        latents = self.sd.encode_image(_colour(pictures))
        inverted = editing.invert(self.sd, latents, prompts, **dataclasses.asdict(self.row.inversion))
        edits = [self.edit(ask) for ask in asks]
        if self.row.mask == "predicted":
            edits = self.confined(latents, prompts, asks, edits)
        result = editing.edit(self.sd, inverted, [[each] for each in edits])
        return _grey(self.sd.decode(result.latents[:, 1]))

    def edit(self, ask: Ask) -> editing.Edit:
        """The edit of one ask; a placebo may change everything, so that one program serves all."""
        spec = ask.change if self.row.strength is None else self.row.strength.on(ask.change)
        made = spec.edit_of(ask.stated, ask.subject.wording)
        if not self.masks:
            return made
        everywhere = np.ones((self.size, self.size), bool)
        return dataclasses.replace(made, mask=self.masks.get(ask.key, everywhere))

    def confined(
        self, latents: jax.Array, prompts: Sequence[str], asks: Sequence[Ask], edits: Sequence[editing.Edit]
    ) -> list[editing.Edit]:
        """The edits within what the model predicts: nothing of the picture for a placebo, whose prompts are equal."""
        ids = rng.example_ids(np.array([ask.subject.index for ask in asks]))
        wanted = [each.prompt for each in edits]
        masks = editing.predict_mask(self.sd, latents, prompts, wanted, ids, config=self.row.prediction)
        return [dataclasses.replace(each, mask=mask) for each, mask in zip(edits, masks, strict=True)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """Makes pictures without a model of counterfactuals: the same again, encoded and decoded, or the truth."""

    size: int
    change: Callable[[np.ndarray], np.ndarray]  # of every picture
    truth: Mapping[tuple[str, str], np.ndarray]  # by ask, in place of `change`
    attributes: Mapping[tuple[str, str], Attributes]

    def shown(self, asks: Sequence[Ask]) -> list[Attributes]:
        return [self.attributes.get(ask.key, ask.wanted) for ask in asks]

    def make(self, pictures: np.ndarray, asks: Sequence[Ask]) -> np.ndarray:
        """The truth on the way there; on the way back the truth is the original, which is at ("", subject)."""
        changed = self.change(pictures)
        keys = [ask.key if ask.wanted != ask.subject.attributes else ("", ask.subject.id) for ask in asks]
        return np.stack([self.truth.get(key, picture) for key, picture in zip(keys, changed, strict=True)])


def text_editor(row: Editor, asks: Sequence[Ask], truths: Truths | None) -> TextEditor:
    """Loads the model of a row, and the true masks of its asks where it uses these."""
    sd = StableDiffusion.from_pretrained(row.model, dtype=row.dtype)
    if row.mask not in TRUE_MASKS:
        return TextEditor(sd=sd, row=row, masks={})
    masks = truths.fitted_masks(sd.size)
    drawn = [box(mask, row.margin) if row.mask == "box" else mask for mask in masks]
    return TextEditor(sd=sd, row=row, masks={ask.key: mask for ask, mask in zip(asks, drawn, strict=True)})


def bracket(
    row: Bracket,
    asks: Sequence[Ask],
    originals: Callable[[str, int], np.ndarray],
    truths: Callable[[Mode], tuple[np.ndarray, Sequence[Attributes]]],
    size: int,
) -> Known:
    """The maker of a row that stands beside the others.

    Args:
      originals: the picture of a subject's id at a size.
      truths: of a mode, the true pictures at the common size and what they show, by ask.
    """
    if row.kind == AUTOENCODER:
        sd = StableDiffusion.from_pretrained(row.model)
        again = lambda pictures: _grey(sd.decode(sd.encode_image(_colour(pictures))))
        return Known(size=sd.size, change=again, truth={}, attributes={})
    if row.kind != ORACLE:
        return Known(size=size, change=lambda pictures: pictures, truth={}, attributes={})
    pictures, attributes = truths(row.mode)
    truth = {ask.key: picture for ask, picture in zip(asks, pictures, strict=True)}
    truth |= {("", ask.subject.id): originals(ask.subject.id, size) for ask in asks}
    known = {ask.key: found for ask, found in zip(asks, attributes, strict=True)}
    return Known(size=size, change=lambda pictures: pictures, truth=truth, attributes=known)


def box(mask: np.ndarray, margin: float) -> np.ndarray:
    """The bounding box of a mask bool [h, w], `margin` of the side larger on each side; an empty mask stays empty."""
    if not mask.any():
        return mask
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    more = round(margin * mask.shape[0])
    around = np.zeros_like(mask)
    around[max(rows[0] - more, 0) : rows[-1] + more + 1, max(columns[0] - more, 0) : columns[-1] + more + 1] = True
    return around


def _colour(pictures: np.ndarray) -> jax.Array:
    """uint8 [b, h, w] -> float32 [b, h, w, 3] in [-1, 1]."""
    return rgb_from_uint8(jnp.asarray(pictures))


def _grey(images: jax.Array) -> np.ndarray:
    """Decoded images [b, h, w, 3] as uint8 [b, h, w]: the mean of the three nearly equal channels."""
    return to_uint8(np.asarray(images).mean(-1))
