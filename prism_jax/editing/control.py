"""Prompt-to-prompt attention control (Hertz et al. 2022, arXiv 2208.01626) as arrays.

A batch holds, per image, the source and `e` edits of it: `[b, 1 + e, ...]`. Classifier-free guidance puts rows without
text before these; only the rows with text are controlled. The edits of an image use the source attention of that image
only.
"""

import jax
import jax.numpy as jnp
from flax import struct

from prism_jax.models.attention import Site

SELF_QUERIES = 32**2  # finer feature maps keep their own self-attention, as in prompt-to-prompt


@struct.dataclass
class Control:
    """Attention control of all sampling steps. All leaves are arrays: new values do not retrace."""

    mapper: jax.Array  # [b, e, k, k]: source token -> token of the edit
    source_weight: jax.Array  # [t, b, e, k]: weight of the mapped source attention
    edit_weight: jax.Array  # [t, b, e, k]: weight of the edit's own attention
    replace_self: jax.Array  # bool [t, b, e]: True where the source's self-attention is used

    def at(self, step: jax.Array) -> "Control":
        """The control of one step: the same fields, without their leading `t`."""
        return self.replace(
            source_weight=self.source_weight[step],
            edit_weight=self.edit_weight[step],
            replace_self=self.replace_self[step],
        )


class ControlledAttention:
    """An `AttentionControl` for one UNet call on `[n, ...]`, of which the last `b * (1 + e)` rows have text.

    `maps` collects, while the call is traced, the edited cross-attention of the sites whose side is `map_side`, each
    averaged over heads: `[b, 1 + e, q, k]`. Make a new one for every call.
    """

    def __init__(self, control: Control, *, map_side: tuple[int, int] | None):
        self.control = control
        self.map_side = map_side
        self.maps: list[jax.Array] = []

    def replace_self_attention(self, q: jax.Array, k: jax.Array, site: Site) -> tuple[jax.Array, jax.Array]:
        """Gives the edits the source's queries and keys, which copies its attention maps without computing them."""
        if site.height * site.width > SELF_QUERIES:
            return q, k
        return self._from_source(q), self._from_source(k)

    def edit_cross_attention(self, probs: jax.Array, site: Site) -> jax.Array:
        """Swaps and reweights cross-attention `[rows, n, q, k]`, and collects it at `map_side`."""
        null, text = self._split(probs)  # text [b, 1 + e, n, q, k]
        source, edits = text[:, :1], text[:, 1:]
        mapped = jnp.einsum("bnqk,bekl->benql", source[:, 0], self.control.mapper)
        take, keep = (
            w[:, :, None, None] for w in (self.control.source_weight, self.control.edit_weight)
        )  # [b, e, 1, 1, k]
        text = jnp.concatenate([source, mapped * take + edits * keep], axis=1)
        if site.place != "mid" and (site.height, site.width) == self.map_side:
            self.maps.append(text.mean(2))
        return _join(null, text)

    def _from_source(self, x: jax.Array) -> jax.Array:
        null, text = self._split(x)  # text [b, 1 + e, q, n, d]
        source, edits = text[:, :1], text[:, 1:]
        edits = jnp.where(self.control.replace_self[:, :, None, None, None], source, edits)
        return _join(null, jnp.concatenate([source, edits], axis=1))

    def _split(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Rows without text, unchanged, and those with text, [b, 1 + e, ...]."""
        b, e = self.control.replace_self.shape
        first = len(x) - b * (1 + e)
        return x[:first], x[first:].reshape(b, 1 + e, *x.shape[1:])


def _join(null: jax.Array, text: jax.Array) -> jax.Array:
    return jnp.concatenate([null, text.reshape(-1, *null.shape[1:])])
