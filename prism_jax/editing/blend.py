"""Region that an edit may change: local blend (prompt-to-prompt, section 5), and given masks.

Given masks work as in RadEdit (Perez-Garcia et al. 2024, arXiv 2312.12865): guidance acts in the edit mask only, and in
the keep mask every step is set back to the source. Between them the image follows the edit without guidance.
"""

import jax
import jax.numpy as jnp
from flax import struct

FINEST_COARSE_SIDE = 16  # prompt-to-prompt reads word attention at 16x16, a quarter of the latents' side


@struct.dataclass
class EditRegion:
    """Blend words and masks that restrict edits to a region of the image."""

    source_words: jax.Array  # [b, e, k] 1 where a token of the source prompt is a blend word
    edit_words: jax.Array  # [b, e, k] 1 where a token of the edited prompt is a blend word
    threshold: jax.Array  # [b, e] of the attention relative to its largest value
    first_step: jax.Array  # int32 [b, e] first step that is blended
    is_blended: jax.Array  # bool [b, e] True for edits with a local blend
    guided: jax.Array  # [b, e, h, w] 1 where guidance acts: the edit mask
    allowed: jax.Array  # [b, e, h, w] 1 where the edit may change the latents: all but the keep mask


def map_side(height: int, width: int) -> tuple[int, int]:
    """The side of the attention maps to read: a quarter of the latents', but no coarser than 16 where that exists."""
    factor = 1
    while factor < 4 and min(height, width) // (2 * factor) >= FINEST_COARSE_SIDE:
        factor *= 2
    return height // factor, width // factor


def empty_scores(region: EditRegion, side: tuple[int, int]) -> jax.Array:
    """Zeros `[2, b, e, q]` that `add_scores` sums into."""
    return jnp.zeros((2, *region.threshold.shape, side[0] * side[1]))


def add_scores(scores: jax.Array, region: EditRegion, maps: list[jax.Array]) -> jax.Array:
    """Adds one step's attention to the words: of the source in `scores[0]`, of the edit in `scores[1]`.

    `maps` are `[b, 1 + e, q, k]`, one per layer. Scores are summed over steps, as prompt-to-prompt does; only their
    ratio to their maximum counts.
    """
    if not maps:
        raise ValueError("no word attention to blend by: the UNet has none at the side where it is read; use a mask")
    mean = sum(maps) / len(maps)
    source = jnp.einsum("bqk,bek->beq", mean[:, 0], region.source_words)
    edit = jnp.einsum("beqk,bek->beq", mean[:, 1:], region.edit_words)
    return scores + jnp.stack([source, edit])


def blend_mask(scores: jax.Array, threshold: jax.Array, side: tuple[int, int], size: tuple[int, int]) -> jax.Array:
    """Bool `[b, e, h, w]`: where either prompt's words hold more attention than the threshold.

    3x3 maximum, nearest enlargement to the latents, and the threshold relative to each map's maximum. A map of words
    that are absent is zero, and then contributes nothing.
    """
    grid = scores.reshape(*scores.shape[:3], *side)  # [2, b, e, h', w']
    window, stride = (1, 1, 1, 3, 3), (1, 1, 1, 1, 1)
    grid = jax.lax.reduce_window(grid, -jnp.inf, jax.lax.max, window, stride, "SAME")
    grid = grid.repeat(size[0] // side[0], axis=3).repeat(size[1] // side[1], axis=4)  # [2, b, e, h, w]
    largest = grid.max((3, 4), keepdims=True)
    above = grid / jnp.where(largest > 0, largest, 1.0) > threshold[None, :, :, None, None]
    return above.any(0)


def restrict(
    latents: jax.Array, region: EditRegion, scores: jax.Array, step: jax.Array, side: tuple[int, int]
) -> jax.Array:
    """Resets `latents [b, 1 + e, h, w, c]` of the edits to the source's outside the masks."""
    source, edits = latents[:, :1], latents[:, 1:]
    mask = blend_mask(scores, region.threshold, side, latents.shape[2:4])
    everywhere = ~region.is_blended | (step < region.first_step)  # [b, e]
    mask = (mask | everywhere[:, :, None, None]) * region.allowed
    return jnp.concatenate([source, source + mask[..., None] * (edits - source)], axis=1)
