"""Edits keep the laws of prompt-to-prompt, and share one compiled program whatever their words."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import editing
from prism_jax.diffusion import ddim, sampling
from prism_jax.editing import Blend, Edit, Inversion, alignment
from prism_jax.editing.edit import _edit, make_control

SOURCES = ("chest ray of a man with effusion", "woman with no pacemaker")
OTHERS = ("chest ray of a woman with effusion", "woman with no support lines")
STEPS, SIDE = 4, 4


@pytest.fixture(scope="module")
def inversion(tiny_sd) -> Inversion:
    """Two images of 4x4 latents, with an embedding of its own for every step."""
    draw = lambda *shape: jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    return Inversion(
        trajectory=draw(STEPS + 1, 2, SIDE, SIDE, 4),
        context=tiny_sd.encode_prompt(SOURCES),
        null_context=draw(STEPS, 2, 77, 16),
        inner_iterations=jnp.zeros((STEPS, 2), jnp.int32),
        guidance=jnp.float32(3.0),
        prompts=SOURCES,
        method="null_text",
    )


@pytest.fixture(scope="module")
def plain(tiny_sd, inversion) -> jax.Array:
    """Reconstruction and edits, each twice, of edits that nothing confines."""
    return run(tiny_sd, inversion, lambda i: [Edit(prompt=OTHERS[i]), blended(i, start=1.0)])


def run(sd, inversion, row) -> jax.Array:
    return editing.edit(sd, inversion, [row(i) for i in range(len(inversion.prompts))]).latents


def blended(i: int, words=("with",), edit_words=("woman",), **options) -> Edit:
    return Edit(prompt=OTHERS[i], blend=Blend(words=words, edit_words=edit_words, **options))


def masked(i: int, mask: np.ndarray) -> Edit:
    return Edit(prompt=OTHERS[i], mask=mask)


def alone(inversion: Inversion, i: int) -> Inversion:
    part = lambda x: x[:, i : i + 1]
    return inversion.replace(
        trajectory=part(inversion.trajectory),
        context=inversion.context[i : i + 1],
        null_context=part(inversion.null_context),
        inner_iterations=part(inversion.inner_iterations),
        prompts=inversion.prompts[i : i + 1],
    )


def assert_differs(a, b):
    assert jnp.abs(a - b).max() > 1e-3


def test_no_change_reconstructs_and_no_control_samples_plainly(tiny_sd, inversion):
    @jax.jit
    def sample(unet, latents, context, null_context, table, guidance):
        return ddim.sample(sampling.guided(unet, context, null_context, guidance), latents, table)[0]

    def sampled(prompts):
        table, context = ddim.ddim_table(tiny_sd.schedule, STEPS), tiny_sd.encode_prompt(prompts)
        return sample(
            tiny_sd.unet, inversion.trajectory[-1], context, inversion.null_context, table, inversion.guidance
        )

    same = lambda i: Edit(prompt=SOURCES[i])
    free = lambda i: Edit(prompt=OTHERS[i], cross_steps=0.0, self_steps=0.0)
    latents = run(tiny_sd, inversion, lambda i: [same(i), free(i)])
    np.testing.assert_allclose(latents[:, 0], sampled(SOURCES), atol=1e-4)
    np.testing.assert_allclose(latents[:, 1], latents[:, 0], atol=1e-4)
    np.testing.assert_allclose(latents[:, 2], sampled(OTHERS), atol=1e-4)
    assert_differs(latents[:, 2], latents[:, 0])


def test_edits_stay_inside_their_masks(tiny_sd, inversion, plain):
    nowhere, everywhere, diagonal = np.zeros((SIDE, SIDE)), np.ones((SIDE, SIDE)), np.eye(SIDE)
    pixel = np.zeros((8 * SIDE, 8 * SIDE))  # at the size of the image
    pixel[3, 9] = 1
    masks = ((nowhere, everywhere), (diagonal, pixel))
    latents = run(tiny_sd, inversion, lambda i: [masked(i, mask) for mask in masks[i]])
    np.testing.assert_array_equal(latents[0, 1], latents[0, 0])
    np.testing.assert_allclose(latents[0, 2], plain[0, 1], atol=1e-4)
    changed = (latents[1, 1:] != latents[1, :1]).any(-1)
    np.testing.assert_array_equal(changed[0], diagonal > 0)
    np.testing.assert_array_equal(np.argwhere(changed[1]), [[0, 1]])


def test_guidance_acts_in_the_edit_mask_and_the_source_stays_in_the_keep_mask(tiny_sd, inversion, plain):
    nowhere, everywhere, diagonal = np.zeros((SIDE, SIDE)), np.ones((SIDE, SIDE)), np.eye(SIDE)
    free = dict(cross_steps=0.0, self_steps=0.0)
    driven = [dict(mask=everywhere, keep=nowhere), dict(mask=everywhere, keep=everywhere)]
    undriven = [dict(mask=nowhere, keep=diagonal), dict(mask=nowhere, keep=nowhere, **free)]
    unguided = [dict(mask=everywhere, guidance=0.0, **free)] * 2
    # Two edits at a time: the program that the other tests have compiled.
    made = [run(tiny_sd, inversion, lambda i, e=e: [Edit(prompt=OTHERS[i], **options) for options in e])
            for e in (driven, undriven, unguided)]  # fmt: skip
    source = made[0][:, 0]
    np.testing.assert_allclose(made[0][:, 1], plain[:, 1], atol=1e-4)
    np.testing.assert_array_equal(made[0][:, 2], source)
    kept = (made[1][:, 1] == made[1][:, 0]).all(-1)
    np.testing.assert_array_equal(kept, np.broadcast_to(diagonal > 0, kept.shape))
    np.testing.assert_allclose(made[1][:, 2], made[2][:, 1], atol=1e-4)
    assert_differs(made[1][:, 2], made[0][:, 1])


def test_local_blend_confines_from_its_first_step_on(tiny_sd, inversion, plain):
    never, absent = dict(threshold=1.0, start=0.0), dict(words=("fog",), edit_words=("fog",), threshold=0.0)
    everywhere = dict(threshold=0.0, start=0.0)
    latents = run(tiny_sd, inversion, lambda i: [blended(i, **(never, everywhere)[i]), blended(i, **absent)])
    np.testing.assert_allclose(plain[:, 1], plain[:, 2], atol=1e-4)  # blending that never starts
    np.testing.assert_array_equal(latents[0, 1], latents[0, 0])
    np.testing.assert_allclose(latents[1, 1], plain[1, 1], atol=1e-4)
    np.testing.assert_array_equal(latents[:, 2], latents[:, 0])
    assert_differs(plain[:, 1], plain[:, 0])


def test_a_batch_gives_what_one_by_one_gives(tiny_sd, inversion):
    def row(i):
        weighted = Edit(prompt=OTHERS[i], kind="refine", reweight={"woman": 3.0}, self_steps=(0.2, 0.4)[i])
        return [blended(i, threshold=0.7), weighted]

    both = run(tiny_sd, inversion, row)
    for i in range(2):
        one = editing.edit(tiny_sd, alone(inversion, i), [row(i)]).latents
        np.testing.assert_allclose(one[0], both[i], atol=1e-4)


def test_neither_prompts_nor_kinds_nor_strengths_retrace(tiny_sd, inversion, plain):
    traced = _edit._cache_size()
    replace = Edit(
        prompt=SOURCES[0].replace("man", "woman"), kind="replace", cross_steps={"default_": 0.5, "woman": 1.0}
    )
    other = Edit(
        prompt="man with lines", reweight={"lines": 2.0}, self_steps=0.0, blend=Blend(words=(), edit_words=("lines",))
    )
    changed = inversion.replace(guidance=jnp.float32(2.0))
    latents = editing.edit(tiny_sd, changed, [[replace, other], [other, masked(1, np.ones((SIDE, SIDE)))]]).latents
    assert latents.shape == (2, 3, SIDE, SIDE, 4)
    assert_differs(latents, plain)
    assert _edit._cache_size() == traced


def test_a_control_is_shares_of_source_and_own_attention(tiny_sd, inversion):
    row = lambda i: [Edit(prompt=OTHERS[i], cross_steps=0.5, self_steps=0.25, reweight={"woman": 3.0})]
    control = make_control(inversion.prompts, [row(i) for i in range(2)], tiny_sd.tokenizer, STEPS)
    np.testing.assert_array_equal(control.replace_self[:, 0, 0], [True, False, False, False])
    total = control.source_weight + control.edit_weight  # [t, b, e, k]
    expected = np.ones((2, 77))
    for factors, prompt in zip(expected, OTHERS, strict=True):
        factors[alignment.word_indices(prompt, "woman", tiny_sd.tokenizer)] = 3
    np.testing.assert_array_equal(total[:2, :, 0], np.broadcast_to(expected, (2, 2, 77)))
    np.testing.assert_array_equal(control.source_weight[2:], 0)
    np.testing.assert_array_equal(total[2:], 1)


def test_input_that_does_not_fit_is_refused_before_work(tiny_sd, inversion):
    good = Edit(prompt=OTHERS[0])
    with pytest.raises(ValueError, match=r"edit kind 'swap' is not known; use one of refine, replace"):
        Edit(prompt="x", kind="swap")
    with pytest.raises(ValueError, match=r"offsets must be between 0 and 1, got 1.5"):
        Edit(prompt="x", offsets=1.5)
    for edits, said in (
        ([[good]], r"edits for 1 images, \[1\] per image, but the inversion has 2"),
        ([[good], [good, good]], r"edits for 2 images, \[1, 2\] per image"),
        ([[], []], r"edits for 2 images, \[0\] per image"),
    ):
        with pytest.raises(ValueError, match=said):
            editing.edit(tiny_sd, inversion, edits)
    for options, said in (
        ({"kind": "replace", "prompt": "one word"}, r'needs prompts of equal length, .* use the kind "refine"'),
        ({"reweight": {"fog": 2.0}}, r"'fog' is not in the prompt .*; use words of the prompt"),
        ({"cross_steps": 1.5}, r"a window of steps from 0.0 to 1.5 does not fit"),
        ({"self_steps": -0.5}, r"a window of steps from 0.0 to -0.5 does not fit"),
        ({"prompt": "man " * 80}, r"prompt of 82 tokens, the limit is 77"),
        ({"mask": np.ones((5, 5))}, r"mask of shape \(5, 5\) does not fit latents of \(4, 4\)"),
        ({"mask": np.ones((4, 4, 1))}, r"mask of shape \(4, 4, 1\) does not fit"),
    ):
        bad = dataclasses.replace(good, **options)
        with pytest.raises(ValueError, match=said):
            editing.edit(tiny_sd, inversion, [[good], [bad]])
