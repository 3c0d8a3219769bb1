"""Counterfactual editors: the interface of all methods, text editors, and baselines."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax import StableDiffusion, editing, rng, sharding
from prism_jax.data.schema import Attributes
from prism_jax.evaluation.benchmark.ground_truth import TrueCounterfactuals
from prism_jax.evaluation.benchmark.methods import TRUE_MASKS, Baseline, Editor
from prism_jax.evaluation.benchmark.queries import Query
from prism_jax.evaluation.ground_truth import AUTOENCODER, ORACLE
from prism_jax.pixels import rgb_from_uint8, to_uint8


class CounterfactualEditor(Protocol):
    """Generates counterfactuals of square images uint8 [b, size, size]."""

    size: int

    def expected(self, queries: Sequence[Query]) -> list[Attributes]:
        """Expected attributes of the counterfactuals: the target, and in graph mode its descendants."""

    def generate(self, images: np.ndarray, queries: Sequence[Query]) -> np.ndarray:
        """The counterfactuals, uint8 [b, size, size]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextEditor:
    """Inversion and text-guided editing, one edit per image."""

    sd: StableDiffusion
    method: Editor
    masks: Mapping[tuple[str, str], np.ndarray]  # by query, bool [size, size]; empty without true masks

    @property
    def size(self) -> int:
        return self.sd.size

    def expected(self, queries: Sequence[Query]) -> list[Attributes]:
        return [query.target for query in queries]

    def generate(self, images: np.ndarray, queries: Sequence[Query]) -> np.ndarray:
        prompts = [query.subject.wording.describe(query.source) for query in queries]
        mesh = sharding.local_mesh(len(images))
        latents = self.sd.encode_image(_colour(images))
        inversion = self.method.inversion.with_defaults(self.method.defaults)
        inverted = editing.invert(self.sd, latents, prompts, mesh=mesh, **dataclasses.asdict(inversion))
        edits = [self.edit(query) for query in queries]
        if self.method.mask == "predicted":
            edits = self.with_predicted_masks(latents, prompts, queries, edits)
        result = editing.edit(self.sd, inverted, [[each] for each in edits], mesh=mesh)
        return _grey(self.sd.decode(result.latents[:, 1]))

    def edit(self, query: Query) -> editing.Edit:
        """The edit of one query; the null edit has a full mask, so that one program serves all."""
        spec = query.change if self.method.strength is None else self.method.strength.on(query.change)
        edit = spec.with_defaults(self.method.defaults).edit_of(query.source, query.subject.wording)
        if not self.masks:
            return edit
        everywhere = np.ones((self.size, self.size), bool)
        return dataclasses.replace(edit, mask=self.masks.get(query.key, everywhere))

    def with_predicted_masks(
        self, latents: jax.Array, prompts: Sequence[str], queries: Sequence[Query], edits: Sequence[editing.Edit]
    ) -> list[editing.Edit]:
        """The edits with predicted masks: empty for the null edit, whose prompts are equal."""
        ids = rng.example_ids(np.array([query.subject.index for query in queries]))
        wanted = [each.prompt for each in edits]
        masks = editing.predict_mask(self.sd, latents, prompts, wanted, ids, config=self.method.prediction)
        return [dataclasses.replace(each, mask=mask) for each, mask in zip(edits, masks, strict=True)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineEditor:
    """Baselines: the unchanged image, the autoencoder's reconstruction, or the true counterfactual."""

    size: int
    change: Callable[[np.ndarray], np.ndarray]  # of every image
    truth: Mapping[tuple[str, str], np.ndarray]  # by query, in place of `change`
    attributes: Mapping[tuple[str, str], Attributes]

    def expected(self, queries: Sequence[Query]) -> list[Attributes]:
        return [self.attributes.get(query.key, query.target) for query in queries]

    def generate(self, images: np.ndarray, queries: Sequence[Query]) -> np.ndarray:
        """With a truth, that of an edit; of its reverse and of the null edit, the original."""
        if not self.truth:
            return self.change(images)
        is_edit = lambda query: query.target != query.subject.attributes
        return np.stack([self.truth[q.key] if is_edit(q) else q.original(self.size) for q in queries])


def text_editor(method: Editor, queries: Sequence[Query], truths: TrueCounterfactuals | None) -> TextEditor:
    """Loads the model of a method, and the true masks of its queries where it uses them."""
    sd = StableDiffusion.from_pretrained(method.model, dtype=method.dtype)
    if method.mask not in TRUE_MASKS:
        return TextEditor(sd=sd, method=method, masks={})
    masks = truths.fitted(sd.size).masks
    drawn = [box(mask, method.margin) if method.mask == "box" else mask for mask in masks]
    return TextEditor(sd=sd, method=method, masks={query.key: mask for query, mask in zip(queries, drawn, strict=True)})


def baseline_editor(
    method: Baseline, queries: Sequence[Query], truths: TrueCounterfactuals | None, size: int
) -> BaselineEditor:
    """The editor of a baseline, at the common `size`; the autoencoder works at its own."""
    if method.kind == AUTOENCODER:
        sd = StableDiffusion.from_pretrained(method.model)
        again = lambda images: _grey(sd.decode(sd.encode_image(_colour(images))))
        return BaselineEditor(size=sd.size, change=again, truth={}, attributes={})
    truth, expected = {}, {}
    if method.kind == ORACLE:
        keys = [query.key for query in queries]
        truth = dict(zip(keys, truths.fitted(size).images[method.mode], strict=True))
        expected = dict(zip(keys, truths.attributes[method.mode], strict=True))
    return BaselineEditor(size=size, change=lambda images: images, truth=truth, attributes=expected)


def box(mask: np.ndarray, margin: float) -> np.ndarray:
    """Bounding box of a mask bool [h, w], `margin` of the side larger on each side; empty for an empty mask."""
    if not mask.any():
        return mask
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    more = round(margin * mask.shape[0])
    around = np.zeros_like(mask)
    around[max(rows[0] - more, 0) : rows[-1] + more + 1, max(columns[0] - more, 0) : columns[-1] + more + 1] = True
    return around


def _colour(images: np.ndarray) -> jax.Array:
    """uint8 [b, h, w] -> float32 [b, h, w, 3] in [-1, 1]."""
    return rgb_from_uint8(jnp.asarray(images))


def _grey(images: jax.Array) -> np.ndarray:
    """Decoded images [b, h, w, 3] as uint8 [b, h, w]: the mean of the three nearly equal channels."""
    return to_uint8(np.asarray(images).mean(-1))
