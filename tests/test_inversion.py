"""Inversion agrees with the reference, walks back, and runs one program for every image and prompt."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prism_jax import editing, stable_diffusion
from prism_jax.diffusion import ddim, sampling
from prism_jax.editing import inversion as inversion_lib
from tests.conftest import channels_last, load_trace, relative_distance

PROMPTS = ["chest ray", "man with no effusion"]
NULL_TEXT = dict(method="null_text", steps=3, inner_steps=4)


@pytest.fixture(scope="module")
def latents() -> jax.Array:
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 4)) * np.array([1, 0.3])[:, None, None, None]
    return jnp.asarray(images, jnp.float32)


@pytest.mark.parametrize("stem", ["09_null_text_10_small", "09_null_text_50"])
def test_ddim_inversion_agrees_with_the_reference(stem, sd15):
    arrays, meta = load_trace(stem)
    latents = channels_last(arrays["latents"])
    inversion = editing.invert(sd15, latents, [meta["prompt"]], method="ddim", steps=meta["steps"])
    expected = channels_last(arrays["ddim_inversion_latents"])[:, None]
    np.testing.assert_allclose(inversion.trajectory, expected, rtol=0, atol=5e-4)
    assert relative_distance(inversion.trajectory, expected) < 5e-5
    np.testing.assert_allclose(inversion.context, arrays["cond"], rtol=0, atol=3e-5)
    np.testing.assert_allclose(inversion.null_context[0], arrays["uncond"], rtol=0, atol=3e-5)


def test_sampling_without_guidance_walks_an_inversion_back(tiny_sd, latents):
    """With many steps of a network that changes slowly, as trained ones do; this one is untrained, so it is damped."""
    unet = nnx.clone(tiny_sd.unet)
    unet.conv_out.kernel[...] *= 0.1
    calm = dataclasses.replace(tiny_sd, unet=unet)
    inversion = editing.invert(calm, latents, PROMPTS, method="ddim", steps=200)
    assert relative_distance(inversion.trajectory[-1], latents) > 0.5

    @jax.jit
    def sample(unet, latents, context, table):
        return ddim.sample(sampling.conditional(unet, context), latents, table)[0]

    table = ddim.ddim_table(calm.schedule, 200)
    back = sample(calm.unet, inversion.trajectory[-1], inversion.context, table)
    assert relative_distance(back, latents) < 0.05


def test_null_text_of_a_batch_is_that_of_each_image_alone(tiny_sd, latents):
    losses_allowed = 0.7
    both = editing.invert(tiny_sd, latents, PROMPTS, **NULL_TEXT, tolerance=losses_allowed)
    assert both.trajectory.shape == (4, 2, 4, 4, 4)
    assert both.null_context.shape == (3, 2, 77, 16)
    assert both.inner_iterations.shape == (3, 2)
    assert both.steps == 3
    np.testing.assert_array_equal(both.trajectory[0], latents)
    assert (both.inner_iterations[:, 0] != both.inner_iterations[:, 1]).any()
    start = tiny_sd.encode_prompt([""])[None]  # [1, 1, 77, 16]
    for i in range(2):
        one = slice(i, i + 1)
        alone = editing.invert(tiny_sd, latents[one], PROMPTS[one], **NULL_TEXT, tolerance=losses_allowed)
        np.testing.assert_array_equal(alone.inner_iterations, both.inner_iterations[:, one])
        np.testing.assert_allclose(alone.trajectory, both.trajectory[:, one], atol=1e-4)
        # Adam turns gradients near zero into full updates, so single entries differ by rounding: the shift is compared.
        shift = both.null_context[:, one] - start
        assert relative_distance(alone.null_context - start, shift) < 1e-2


def test_neither_prompts_nor_images_nor_strengths_retrace(tiny_sd, latents):
    traces = lambda: (inversion_lib._invert._cache_size(), stable_diffusion._encode_prompt._cache_size())
    editing.invert(tiny_sd, latents, PROMPTS, **NULL_TEXT)
    traced = traces()
    editing.invert(tiny_sd, latents[::-1], ["woman", "pacemaker"], **NULL_TEXT, guidance=2.0, tolerance=1.0)
    assert traces() == traced


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"method": "null"}, "inversion method 'null' is not known; use one of ddim, null_text"),
        ({"prompts": ["man"]}, "1 prompts for 2 images; give one prompt per image"),
        ({"inner_steps": -1}, "inner_steps is -1; use 0 or more"),
        ({"steps": 0}, "steps is 0; use 1 to 1000"),
        ({"latents": jnp.zeros((2, 4, 4))}, r"latents have the shape \(2, 4, 4\); give \[b, h, w, c\]"),
        ({"latents": jnp.zeros((2, 4, 5, 4))}, "a latent side of 5 is not divisible by the UNet's factor 2"),
        ({"prompts": ["man", "man " * 80]}, "prompt of 82 tokens, the limit is 77; shorten it"),
        ({"prompts": "ab"}, "prompts is one string"),
    ],
)
def test_input_that_does_not_fit_is_refused_before_work(changed, said, tiny_sd, latents):
    given = {"latents": latents, "prompts": PROMPTS, "steps": 3} | changed
    with pytest.raises(ValueError, match=said):
        editing.invert(tiny_sd, **given)
