"""Text edits of inverted images: prompt-to-prompt in one jitted program over a batch of different images."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from prism_jax.diffusion import ddim, sampling
from prism_jax.editing import alignment, blend
from prism_jax.editing.blend import Confinement
from prism_jax.editing.control import Control, ControlledAttention
from prism_jax.editing.inversion import Inversion
from prism_jax.models.unet import UNet2DCondition
from prism_jax.stable_diffusion import StableDiffusion

KINDS = ("refine", "replace")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blend:
    """Confines an edit to where these words hold attention (local blend)."""

    words: tuple[str, ...]  # of the source prompt
    edit_words: tuple[str, ...]  # of the edited prompt
    threshold: float = 0.3  # of the attention relative to its maximum, 0 to 1
    start: float = 0.2  # fraction of the steps before blending begins


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edit:
    """One change of a prompt, and how strongly the picture is held to the source."""

    prompt: str
    kind: str = "refine"  # "replace" swaps words one for one and needs prompts of equally many words
    cross_steps: float | Mapping[str, float] = 0.8  # fraction of the steps, for all words or by word
    self_steps: float = 0.5  # fraction of the steps in which self-attention is the source's
    reweight: Mapping[str, float] | None = None  # factors on the attention to words of the edited prompt
    mask: np.ndarray | None = None  # [h, w] of the image or of the latents; above 0 where the edit may change it
    blend: Blend | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"edit kind {self.kind!r} is not known; use one of {', '.join(KINDS)}")


@struct.dataclass
class EditResult:
    """Edited latents `[b, 1 + e, h, w, c]`; index 0 is the reconstruction."""

    latents: jax.Array


def edit(sd: StableDiffusion, inversion: Inversion, edits: Sequence[Sequence[Edit]]) -> EditResult:
    """Applies `edits[i]` to image `i` of the inversion, each by itself; every image has equally many.

    New prompts, strengths, masks and images of the same shapes run the same compiled program.

    Raises:
      ValueError: lists that do not match, prompts too long, words to reweight that are not in the prompt, fractions
        outside 0 to 1, or prompts of unequal length for "replace".
    """
    counts = sorted({len(row) for row in edits})
    if len(edits) != len(inversion.prompts) or len(counts) != 1 or counts[0] == 0:
        raise ValueError(
            f"edits for {len(edits)} images, {counts} per image, but {len(inversion.prompts)} images are inverted; "
            "give one list per image, all equally long and not empty"
        )
    size = inversion.trajectory.shape[2:4]
    prompts = [prompt for row in edits for prompt in (edit.prompt for edit in row)]
    context = sd.encode_prompt(prompts).reshape(len(edits), counts[0], *inversion.context.shape[1:])
    has_mask = any(edit.mask is not None or edit.blend is not None for row in edits for edit in row)
    latents = _edit(
        sd.unet,
        inversion.trajectory[-1],
        inversion.null_context,
        jnp.concatenate([inversion.context[:, None], context], axis=1),
        ddim.ddim_table(sd.schedule, inversion.steps),
        inversion.guidance,
        make_control(inversion, edits, sd.tokenizer),
        make_confinement(inversion, edits, sd.tokenizer, size) if has_mask else None,
    )
    return EditResult(latents=latents)


def make_control(inversion: Inversion, edits: Sequence[Sequence[Edit]], tokenizer: Any) -> Control:
    """The attention control for `edits`, from the words of the prompts."""
    rows = zip(inversion.prompts, edits, strict=True)
    tables = [[_attention_table(prompt, e, inversion.steps, tokenizer) for e in row] for prompt, row in rows]
    mapper, take, keep, share = (
        np.stack([np.stack([table[i] for table in row]) for row in tables]) for i in range(4)
    )  # [b, e, k, k], [b, e, t, k], [b, e, t, k], [b, e, t]
    return Control(
        mapper=mapper,
        take=np.moveaxis(take, 2, 0),
        keep=np.moveaxis(keep, 2, 0),
        share=np.moveaxis(share, 2, 0),
    )


def _attention_table(source: str, edit: Edit, steps: int, tokenizer: Any) -> tuple[np.ndarray, ...]:
    """Mapper `[k, k]`, take and keep `[t, k]`, share `[t]` of one edit."""
    if edit.kind == "replace":
        mapper, aligned = (
            alignment.replacement(source, edit.prompt, tokenizer),
            np.ones(alignment.LENGTH, np.float32),
        )
    else:
        places, aligned = alignment.refinement(source, edit.prompt, tokenizer)
        mapper = np.zeros((alignment.LENGTH, alignment.LENGTH), np.float32)
        mapper[places, np.arange(alignment.LENGTH)] = aligned  # a token of place -1 is not aligned: zero
    factors = alignment.equalizer(edit.prompt, edit.reweight or {}, tokenizer)  # [k]
    active = alignment.time_word_alphas(edit.prompt, steps, edit.cross_steps, tokenizer)[:steps]  # [t, k]
    start, end = alignment.step_window(edit.self_steps, steps)
    share = (np.arange(steps) >= start) & (np.arange(steps) < end)
    return mapper, active * factors * aligned, active * factors * (1 - aligned) + (1 - active), share


def make_confinement(
    inversion: Inversion, edits: Sequence[Sequence[Edit]], tokenizer: Any, size: tuple[int, int]
) -> Confinement:
    """Blend words and masks of `edits` as arrays, for latents of `size`."""
    rows = zip(inversion.prompts, edits, strict=True)
    parts = [[_confinement(prompt, e, inversion.steps, tokenizer, size) for e in row] for prompt, row in rows]
    return jax.tree.map(
        lambda *leaves: np.stack(leaves), *(jax.tree.map(lambda *x: np.stack(x), *row) for row in parts)
    )


def _confinement(source: str, edit: Edit, steps: int, tokenizer: Any, size: tuple[int, int]) -> Confinement:
    blended = edit.blend or Blend(words=(), edit_words=())
    return Confinement(
        source_words=_marked(source, blended.words, tokenizer),
        edit_words=_marked(edit.prompt, blended.edit_words, tokenizer),
        threshold=np.float32(blended.threshold),
        first_step=np.int32(alignment.step_window(blended.start, steps)[1]),
        is_blended=np.bool_(edit.blend is not None),
        allowed=_allowed(edit.mask, size),
    )


def _marked(text: str, words: Sequence[str], tokenizer: Any) -> np.ndarray:
    """1 at the tokens of `words` in `text`, float32 [k]; a word that is absent marks nothing."""
    marks = np.zeros(alignment.LENGTH, np.float32)
    for word in words:
        marks[alignment.word_indices(text, word, tokenizer)] = 1
    return marks


def _allowed(mask: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    """A mask at the latents' size, float32: a latent may change if any of its pixels may."""
    if mask is None:
        return np.ones(size, np.float32)
    mask = np.asarray(mask)
    factors = [m // s for m, s in zip(mask.shape, size, strict=False)]
    if mask.ndim != 2 or mask.shape != (factors[0] * size[0], factors[1] * size[1]) or 0 in factors:
        raise ValueError(f"mask of shape {mask.shape} does not fit latents of {size}; give [h, w] of the image")
    tiles = mask.reshape(size[0], factors[0], size[1], factors[1])
    return (tiles > 0).any((1, 3)).astype(np.float32)


@jax.jit
def _edit(
    unet: UNet2DCondition,
    noisiest: jax.Array,  # [b, h, w, c]
    null_context: jax.Array,  # [t, b, k, d]
    context: jax.Array,  # [b, 1 + e, k, d], of the source first
    table: ddim.DDIMTable,
    guidance: jax.Array,  # []
    control: Control,
    confinement: Confinement | None,
) -> jax.Array:
    """Samples source and edits side by side; `[b, 1 + e, h, w, c]`."""
    b, n = context.shape[:2]
    size = noisiest.shape[1:]  # (h, w, c)
    side = blend.map_side(*size[:2]) if confinement is not None else None

    def advance(carry, row):
        latents, scores = carry  # [b * n, h, w, c]
        null = jnp.broadcast_to(null_context[row.step][:, None], context.shape)
        contexts = jnp.concatenate([null, context]).reshape(2 * b * n, *context.shape[2:])
        controlled = ControlledAttention(control.at(row.step), map_side=side)
        both = unet(jnp.concatenate([latents, latents]), row.t, contexts, control=controlled)
        latents = ddim.prev_step(latents, sampling.combine(*jnp.split(both, 2), guidance), row)
        if confinement is not None:
            scores = blend.add_scores(scores, confinement, controlled.maps)
            confined = blend.confine(latents.reshape(b, n, *size), confinement, scores, row.step, side)
            latents = confined.reshape(latents.shape)
        return (latents, scores), None

    scores = None if confinement is None else blend.empty_scores(confinement, side)
    (latents, _), _ = jax.lax.scan(advance, (jnp.repeat(noisiest, n, axis=0), scores), table)
    return latents.reshape(b, n, *size)
