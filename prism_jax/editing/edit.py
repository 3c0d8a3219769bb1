"""Text edits of inverted images: prompt-to-prompt in one jitted program over a batch of different images."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import Mesh

from prism_jax import sharding
from prism_jax.diffusion import ddim, sampling
from prism_jax.editing import alignment, blend
from prism_jax.editing.blend import EditRegion
from prism_jax.editing.control import Control, ControlledAttention
from prism_jax.editing.inversion import Inversion, eta_of
from prism_jax.models.unet import UNet2DCondition
from prism_jax.stable_diffusion import StableDiffusion

KINDS = ("refine", "replace")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blend:
    """Local blend: restricts an edit to the region these words attend to (prompt-to-prompt, section 5)."""

    words: tuple[str, ...]  # of the source prompt
    edit_words: tuple[str, ...]  # of the edited prompt
    threshold: float = 0.3  # of the attention relative to its maximum, 0 to 1
    start: float = 0.2  # fraction of the steps before blending begins


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edit:
    """An edited prompt, and the strengths with which the image is kept close to the source."""

    prompt: str
    kind: str = "refine"  # "replace" swaps words one for one and needs prompts of equally many words
    cross_steps: float | Mapping[str, float] = 0.8  # fraction of steps with the source's cross-attention; or by word
    self_steps: float = 0.5  # fraction of steps with the source's self-attention
    reweight: Mapping[str, float] | None = None  # factors on the attention to words of the edited prompt
    mask: np.ndarray | None = None  # [h, w] of the image or the latents; guidance acts only where it is above 0
    keep: np.ndarray | None = None  # [h, w]; the source is kept where it is above 0; None: where `mask` is 0
    blend: Blend | None = None
    guidance: float | None = None  # of the edit; None: that of the inversion, which the source always uses
    offsets: float = 1.0  # fraction of the inversion's offsets added to the edit too (direct, edit_friendly)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"edit kind {self.kind!r} is not known; use one of {', '.join(KINDS)}")
        if not 0 <= self.offsets <= 1:
            raise ValueError(f"offsets must be between 0 and 1, got {self.offsets}")


@struct.dataclass
class EditResult:
    """Edited latents `[b, 1 + e, h, w, c]`; index 0 is the reconstruction."""

    latents: jax.Array


@struct.dataclass
class SourcePath:
    """Scanned inputs of sampling, in sampling order: timesteps, null embeddings and the source's trajectory."""

    table: ddim.DDIMTable
    null_context: jax.Array  # [t, b, k, d]
    target: jax.Array | None  # [t, b, h, w, c] source latents after each step, or None: the source is sampled
    offset: jax.Array | None  # [t, b, h, w, c] target minus the source's own step


def edit(
    sd: StableDiffusion,
    inversion: Inversion,
    edits: Sequence[Sequence[Edit]],
    *,
    skip: int = 0,
    mesh: Mesh | None = None,
) -> EditResult:
    """Applies each of `edits[i]` to image `i` of the inversion, independently; every image needs equally many edits.

    `skip` leaves out that many of the noisiest steps: edits then start closer to the image, and can change less of it.
    `mesh` must be that of the inversion. New prompts, strengths, masks and images of the same shapes do not recompile.

    Raises:
      ValueError: lists that do not match, prompts too long, words to reweight that are not in the prompt, fractions
        outside 0 to 1, or prompts of unequal length for "replace".
    """
    counts = sorted({len(row) for row in edits})
    if len(edits) != len(inversion.prompts) or len(counts) != 1 or counts[0] == 0:
        raise ValueError(
            f"edits for {len(edits)} images, {counts} per image, but the inversion has {len(inversion.prompts)}; "
            "give one list per image, all equally long and not empty"
        )
    if not 0 <= skip < inversion.steps:
        raise ValueError(f"skip is {skip}, the inversion has {inversion.steps} steps; use 0 to {inversion.steps - 1}")
    size = inversion.trajectory.shape[2:4]
    prompts = [prompt for row in edits for prompt in (edit.prompt for edit in row)]
    context = sd.encode_prompt(prompts).reshape(len(edits), counts[0], *inversion.context.shape[1:])
    has_region = lambda e: any(x is not None for x in (e.mask, e.keep, e.blend))
    has_mask = any(has_region(e) for row in edits for e in row)
    steps = inversion.steps - skip
    own = lambda e: inversion.guidance if e.guidance is None else e.guidance
    latents = _edit(
        sd.unet,
        inversion.trajectory[steps],
        source_path(sd, inversion, skip),
        jnp.concatenate([inversion.context[:, None], context], axis=1),
        jnp.array([[inversion.guidance, *map(own, row)] for row in edits], jnp.float32),
        jnp.array([[e.offsets for e in row] for row in edits], jnp.float32),
        make_control(inversion.prompts, edits, sd.tokenizer, steps),
        make_region(inversion.prompts, edits, sd.tokenizer, steps, size) if has_mask else None,
        eta=eta_of(inversion.method),
        mesh=mesh,
    )
    return EditResult(latents=latents)


def source_path(sd: StableDiffusion, inversion: Inversion, skip: int) -> SourcePath:
    """The steps of the inversion in sampling order, without the first `skip`, counted from 0."""
    table = jax.tree.map(lambda rows: rows[skip:], ddim.ddim_table(sd.schedule, inversion.steps))
    is_locked = inversion.offsets is not None
    return SourcePath(
        table=table.replace(step=table.step - skip),
        null_context=inversion.null_context[skip:],
        target=inversion.trajectory[-2::-1][skip:] if is_locked else None,
        offset=inversion.offsets[skip:] if is_locked else None,
    )


def make_control(prompts: Sequence[str], edits: Sequence[Sequence[Edit]], tokenizer: Any, steps: int) -> Control:
    """The attention control for `edits` of images with these `prompts`, from their words."""
    control = _of_each(partial(_attention_table, steps=steps, tokenizer=tokenizer), prompts, edits)  # [b, e, t, ...]
    by_step = lambda x: np.moveaxis(x, 2, 0)
    return control.replace(
        source_weight=by_step(control.source_weight),
        edit_weight=by_step(control.edit_weight),
        replace_self=by_step(control.replace_self),
    )


def _of_each(function: Callable[[str, Edit], Any], prompts: Sequence[str], edits: Sequence[Sequence[Edit]]) -> Any:
    """`function(prompt, edit)` of all edits, its leaves stacked: [b, e, ...]."""
    stack = lambda trees: jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
    return stack([stack([function(prompt, e) for e in row]) for prompt, row in zip(prompts, edits, strict=True)])


def _attention_table(source: str, edit: Edit, steps: int, tokenizer: Any) -> Control:
    """Mapper `[k, k]`, source and edit weights `[t, k]`, self-attention replacement `[t]` of one edit."""
    if edit.kind == "replace":
        mapper, aligned = alignment.replacement(source, edit.prompt, tokenizer), np.ones(alignment.LENGTH, np.float32)
    else:
        places, aligned = alignment.refinement(source, edit.prompt, tokenizer)
        mapper = np.zeros((alignment.LENGTH, alignment.LENGTH), np.float32)
        mapper[places, np.arange(alignment.LENGTH)] = aligned  # an unaligned token has place -1 and gets zero
    factors = alignment.equalizer(edit.prompt, edit.reweight or {}, tokenizer)  # [k]
    active = alignment.time_word_alphas(edit.prompt, steps, edit.cross_steps, tokenizer)[:steps]  # [t, k]
    start, end = alignment.step_window(edit.self_steps, steps)
    share = (np.arange(steps) >= start) & (np.arange(steps) < end)
    return Control(
        mapper=mapper,
        source_weight=active * factors * aligned,
        edit_weight=active * factors * (1 - aligned) + (1 - active),
        replace_self=share,
    )


def make_region(
    prompts: Sequence[str], edits: Sequence[Sequence[Edit]], tokenizer: Any, steps: int, size: tuple[int, int]
) -> EditRegion:
    """Blend words and masks of `edits` as arrays, for latents of `size`."""
    return _of_each(partial(_region, steps=steps, tokenizer=tokenizer, size=size), prompts, edits)


def _region(source: str, edit: Edit, steps: int, tokenizer: Any, size: tuple[int, int]) -> EditRegion:
    blended = edit.blend or Blend(words=(), edit_words=())
    return EditRegion(
        source_words=_marked(source, blended.words, tokenizer),
        edit_words=_marked(edit.prompt, blended.edit_words, tokenizer),
        threshold=np.float32(blended.threshold),
        first_step=np.int32(alignment.step_window(blended.start, steps)[1]),
        is_blended=np.bool_(edit.blend is not None),
        guided=_touched(edit.mask, size),
        allowed=_touched(edit.mask if edit.keep is None else np.asarray(edit.keep) <= 0, size),
    )


def _marked(text: str, words: Sequence[str], tokenizer: Any) -> np.ndarray:
    """1 at the tokens of `words` in `text`, else 0, float32 [k]; words that are absent are ignored."""
    marks = np.zeros(alignment.LENGTH, np.float32)
    for word in words:
        marks[alignment.word_indices(text, word, tokenizer)] = 1
    return marks


def _touched(mask: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    """A mask at the latents' size, float32: 1 for a latent any of whose pixels is above 0; None is 1 everywhere."""
    if mask is None:
        return np.ones(size, np.float32)
    mask = np.asarray(mask)
    factors = [m // s for m, s in zip(mask.shape, size, strict=False)]
    if mask.ndim != 2 or mask.shape != (factors[0] * size[0], factors[1] * size[1]) or 0 in factors:
        raise ValueError(f"mask of shape {mask.shape} does not fit latents of {size}; give [h, w] of the image")
    tiles = mask.reshape(size[0], factors[0], size[1], factors[1])
    return (tiles > 0).any((1, 3)).astype(np.float32)


@partial(jax.jit, static_argnames=("eta", "mesh"))
def _edit(*args: Any, eta: float, mesh: Mesh | None) -> jax.Array:
    """`_edit_part`, mapped over the devices of `mesh`."""
    images, of_steps, whole = sharding.BATCH, sharding.STEP_BATCH, sharding.REPLICATED
    path = SourcePath(table=whole, null_context=of_steps, target=of_steps, offset=of_steps)
    control = Control(mapper=images, source_weight=of_steps, edit_weight=of_steps, replace_self=of_steps)
    inputs = (whole, images, path, images, images, images, control, images)
    return sharding.shard_map_over_batch(partial(_edit_part, eta=eta), mesh, inputs, images)(*args)


def _edit_part(
    unet: UNet2DCondition,
    noisiest: jax.Array,  # [b, h, w, c]
    path: SourcePath,
    context: jax.Array,  # [b, 1 + e, k, d], of the source first
    guidance: jax.Array,  # [b, 1 + e]
    offsets: jax.Array,  # [b, e]
    control: Control,
    region: EditRegion | None,
    *,
    eta: float,
) -> jax.Array:
    """Samples source and edits in one batch; `[b, 1 + e, h, w, c]`."""
    b, n = context.shape[:2]
    size = noisiest.shape[1:]  # (h, w, c)
    guidance = guidance[:, :, None, None, None]
    if region is not None:  # guidance 0 gives the unconditional estimate (RadEdit)
        guidance *= jnp.pad(region.guided, ((0, 0), (1, 0), (0, 0), (0, 0)), constant_values=1)[..., None]
    side = blend.map_side(*size[:2]) if region is not None else None
    is_locked = path.target is not None
    first = 1 if is_locked else 0  # a locked source needs no unconditional estimate, so its branch is skipped

    def advance(carry, scanned):
        latents, scores = carry  # [b, n, h, w, c]
        row, now = scanned.table, control.at(scanned.table.step)
        null = jnp.broadcast_to(scanned.null_context[:, None], (b, n - first, *context.shape[2:]))
        rows = lambda x: x.reshape(-1, *x.shape[2:])
        twice = jnp.concatenate([rows(latents[:, first:]), rows(latents)])
        controlled = ControlledAttention(now, map_side=side)
        outputs = unet(twice, row.t, (rows(null), rows(context)), control=controlled)
        without, text = outputs[: -b * n].reshape(b, n - first, *size), outputs[-b * n :].reshape(b, n, *size)
        combined = sampling.combine(without, text[:, first:], guidance[:, first:])
        if is_locked:
            edited = ddim.stochastic_step(latents[:, 1:], combined, row, eta=eta, noise=0.0)
            edited += offsets[:, :, None, None, None] * scanned.offset[:, None]
            latents = jnp.concatenate([scanned.target[:, None], edited], axis=1)
        else:
            latents = ddim.prev_step(latents, combined, row)
        if region is not None:
            scores = blend.add_scores(scores, region, controlled.maps)
            latents = blend.restrict(latents, region, scores, row.step, side)
        return (latents, scores), None

    scores = None if region is None else blend.empty_scores(region, side)
    start = jnp.broadcast_to(noisiest[:, None], (b, n, *size))
    (latents, _), _ = jax.lax.scan(advance, (start, scores), path)
    return latents
