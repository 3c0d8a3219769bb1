"""Blend masks lie where the words hold attention, and only there do edits change the latents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.editing import blend
from prism_jax.editing.blend import EditRegion

SIDE, SIZE = (4, 4), (8, 8)


def region(**changed) -> EditRegion:
    """Of one image with one edit, of whose two words the first counts in the source and the second in the edit."""
    fields = dict(
        source_words=jnp.array([[[1.0, 0.0]]]),
        edit_words=jnp.array([[[0.0, 1.0]]]),
        threshold=jnp.array([[0.5]]),
        first_step=jnp.array([[2]]),
        is_blended=jnp.array([[True]]),
        guided=jnp.ones((1, 1, *SIZE)),
        allowed=jnp.ones((1, 1, *SIZE)),
    )
    return EditRegion(**fields | changed)


def peak(row: int, column: int, height: float = 1.0) -> jax.Array:
    return jnp.zeros(SIDE).at[row, column].set(height)


def scores(source: jax.Array, edit: jax.Array) -> jax.Array:
    return jnp.stack([source, edit]).reshape(2, 1, 1, -1)


def mask_of(source: jax.Array, edit: jax.Array) -> np.ndarray:
    return np.asarray(blend.blend_mask(scores(source, edit), jnp.array([[0.5]]), SIDE, SIZE)[0, 0])


@pytest.mark.parametrize(
    ("size", "side"),
    [((64, 64), (16, 16)), ((32, 32), (16, 16)), ((16, 16), (16, 16)), ((8, 8), (8, 8)), ((96, 64), (24, 16)),
     ((64, 48), (32, 24))],
)  # fmt: skip
def test_maps_are_read_at_a_quarter_or_as_coarse_as_sixteen(size, side):
    assert blend.map_side(*size) == side


def test_a_mask_is_the_neighbourhood_of_either_prompts_words():
    expected = np.zeros(SIZE, bool)
    expected[:4, :4] = True  # the peak in the corner, one cell around it, doubled in size
    np.testing.assert_array_equal(mask_of(peak(0, 0), jnp.zeros(SIDE)), expected)
    np.testing.assert_array_equal(mask_of(jnp.zeros(SIDE), peak(0, 0)), expected)
    both = mask_of(peak(0, 0), peak(3, 3))
    np.testing.assert_array_equal(both, expected | expected[::-1, ::-1])


def test_thresholds_are_relative_to_the_maximum_and_strict():
    for second, is_inside in ((0.51, True), (0.5, False)):
        for scale in (1.0, 1e-3):
            assert mask_of(scale * (peak(0, 0) + peak(3, 3, second)), jnp.zeros(SIDE))[-1, -1] == is_inside


def test_absent_words_leave_nothing():
    assert not mask_of(jnp.zeros(SIDE), jnp.zeros(SIDE)).any()


def test_scores_sum_the_attention_to_each_prompts_words_over_steps():
    words = region()
    maps = [jnp.asarray(np.random.default_rng(i).random((1, 2, 16, 2)), jnp.float32) for i in range(2)]
    summed = blend.empty_scores(words, SIDE)
    for _ in range(3):
        summed = blend.add_scores(summed, words, maps)
    mean = (maps[0] + maps[1]) / 2
    np.testing.assert_allclose(summed[:, 0, 0], 3 * np.stack([mean[0, 0, :, 0], mean[0, 1, :, 1]]), rtol=1e-6)
    with pytest.raises(ValueError, match="no word attention to blend by"):
        blend.add_scores(summed, words, [])


def test_latents_change_only_inside_the_mask_and_where_allowed_from_the_first_step_on():
    source, edit = jnp.zeros((1, 1, *SIZE, 4)), jnp.ones((1, 1, *SIZE, 4))
    latents = jnp.concatenate([source, edit], axis=1)
    found = scores(peak(0, 0), jnp.zeros(SIDE))
    inside = mask_of(peak(0, 0), jnp.zeros(SIDE))
    left = jnp.zeros((1, 1, *SIZE)).at[..., :2].set(1)

    def changed(step: int, **options) -> np.ndarray:
        made = blend.restrict(latents, region(**options), found, jnp.int32(step), SIDE)
        np.testing.assert_array_equal(made[:, 0], source[:, 0])
        return np.asarray(made[0, 1, ..., 0]) == 1

    np.testing.assert_array_equal(changed(2), inside)
    assert changed(1).all()
    assert changed(2, is_blended=jnp.array([[False]])).all()
    np.testing.assert_array_equal(changed(2, allowed=left), inside & (left[0, 0] > 0))
    np.testing.assert_array_equal(changed(1, allowed=left), left[0, 0] > 0)
