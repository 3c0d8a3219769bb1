"""Attention control copies, mixes and gathers what it should, of the right images, in the right layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.editing.control import Control, ControlledAttention
from prism_jax.models import attention
from prism_jax.models.attention import Site

B, E, HEADS, KEYS, WIDTH, STEPS = 2, 2, 3, 5, 4, 3
SELF = Site(place="up", is_cross=False, height=4, width=4)
CROSS = Site(place="up", is_cross=True, height=4, width=4)


def draw(*shape) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.fixture
def control() -> Control:
    """At step 1 the first edit of each image shares self-attention, the second does not."""
    weights = jnp.abs(draw(2, STEPS, B, E, KEYS))
    share = jnp.zeros((STEPS, B, E), bool).at[1, :, 0].set(True)
    return Control(mapper=draw(B, E, KEYS, KEYS), source_weight=weights[0], edit_weight=weights[1], replace_self=share)


def halves(x: jax.Array) -> jax.Array:
    return x.reshape(2, B, 1 + E, *x.shape[1:])


def test_sharing_self_attention_is_replacing_its_maps(control):
    q, k, v = draw(3, 2 * B * (1 + E), 16, HEADS, WIDTH)
    shared = ControlledAttention(control.at(1), map_side=None).replace_self_attention(q, k, SELF)
    made = halves(attention.dot_product_attention(*shared, v))
    maps = halves(attention.attention_probs(q, k))
    replaced = maps.at[1, :, 1].set(maps[1, :, 0])  # text half, first edit: the map of the source of its image
    expected = jnp.einsum("hbenqk,hbeknd->hbeqnd", replaced, halves(v))
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_finer_maps_than_prompt_to_prompt_replaces_stay(control):
    controlled = ControlledAttention(control.at(1), map_side=None)
    for side, is_shared in ((32, True), (33, False)):
        q, k = draw(2, 2 * B * (1 + E), side * 32, 1, 2)
        site = Site(place="down", is_cross=False, height=side, width=32)
        assert (controlled.replace_self_attention(q, k, site)[0] is q) is not is_shared


def test_word_attention_is_the_mapped_source_and_the_edit_by_their_weights(control):
    probs = jax.nn.softmax(draw(2 * B * (1 + E), HEADS, 16, KEYS))
    made, given = (
        halves(ControlledAttention(control.at(2), map_side=None).edit_cross_attention(probs, CROSS)),
        halves(probs),
    )
    np.testing.assert_array_equal(made[0], given[0])  # the null half
    np.testing.assert_array_equal(made[1, :, 0], given[1, :, 0])  # the sources
    mapper, take, keep, text = map(
        np.asarray, (control.mapper, control.source_weight[2], control.edit_weight[2], given[1])
    )
    for b, e in np.ndindex(B, E):
        expected = take[b, e] * (text[b, 0] @ mapper[b, e]) + keep[b, e] * text[b, 1 + e]
        np.testing.assert_allclose(made[1, b, 1 + e], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("site", "is_gathered"),
    [
        (CROSS, True),
        (Site(place="down", is_cross=True, height=4, width=4), True),
        (Site(place="mid", is_cross=True, height=4, width=4), False),
        (Site(place="up", is_cross=True, height=2, width=8), False),
    ],
)
def test_edited_maps_are_gathered_where_blending_reads_them(site, is_gathered, control):
    probs = jax.nn.softmax(draw(2 * B * (1 + E), HEADS, 16, KEYS))
    controlled = ControlledAttention(control.at(0), map_side=(4, 4))
    made = controlled.edit_cross_attention(probs, site)
    expected = [halves(made)[1].mean(2)] if is_gathered else []
    jax.tree.map(np.testing.assert_array_equal, controlled.maps, expected)
