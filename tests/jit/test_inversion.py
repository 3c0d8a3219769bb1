"""Inversion can be walked back, and compiles one program for every image and prompt."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prism_jax import editing, stable_diffusion
from prism_jax.diffusion import ddim, sampling
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.editing import Edit
from prism_jax.editing import inversion as inversion_lib
from tests.conftest import relative_distance

PROMPTS = ["chest ray", "man with no effusion"]
NULL_TEXT = dict(method="null_text", steps=3, inner_steps=4)


@pytest.fixture(scope="module")
def latents() -> jax.Array:
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 4)) * np.array([1, 0.3])[:, None, None, None]
    return jnp.asarray(images, jnp.float32)


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


def eight_images(method: str):
    """Latents, prompts, options of inversion, and edits of eight images whose null-text updates stop apart."""
    draw = np.random.default_rng(1)
    latents = jnp.asarray(draw.normal(size=(8, 4, 4, 4)) * draw.uniform(0.3, 1, (8, 1, 1, 1)), jnp.float32)
    prompts = [f"chest ray {word}" for word in ("man", "woman", "no", "year", "old", "view", "with", "lines")]
    options = dict(method=method, steps=3, inner_steps=4, guidance=3.0, tolerance=0.7)
    return latents, prompts, options, [[Edit(prompt=prompt), Edit(prompt="woman with lines")] for prompt in prompts]


@pytest.mark.parametrize("method", inversion_lib.METHODS)
def test_each_method_keeps_the_laws_of_editing(method, tiny_sd):
    """An edit that changes no word is the reconstruction; a batch gives the results of its images one by one."""
    latents, prompts, options, edits = eight_images(method)
    inversion = editing.invert(tiny_sd, latents, prompts, **options)
    together = editing.edit(tiny_sd, inversion, edits).latents
    np.testing.assert_array_equal(inversion.trajectory[0], latents)
    np.testing.assert_allclose(together[:, 1], together[:, 0], atol=1e-4)
    assert relative_distance(together[:, 2], together[:, 0]) > 1e-3
    if method in inversion_lib.SOURCE_LOCKED:
        np.testing.assert_array_equal(together[:, 0], latents)
    for i in range(8):
        alone = editing.invert(tiny_sd, latents[i : i + 1], prompts[i : i + 1], **options)
        np.testing.assert_array_equal(alone.inner_iterations[:, 0], inversion.inner_iterations[:, i])
        assert relative_distance(editing.edit(tiny_sd, alone, edits[i : i + 1]).latents[0], together[i]) < 1e-4
        if method == "null_text":
            assert relative_distance(alone.null_context[:, 0], inversion.null_context[:, i]) < 1e-4
    if method == "null_text":
        assert len(np.unique(inversion.inner_iterations.sum(0))) > 1  # those that are done wait for the others


def test_edits_of_fewer_steps_start_from_the_trajectory_of_a_v_prediction_model_too(tiny_sd, latents):
    schedule = NoiseSchedule.create(ScheduleConfig(prediction_type="v_prediction"))
    tiny_sd = dataclasses.replace(tiny_sd, schedule=schedule)
    inversion = editing.invert(tiny_sd, latents, PROMPTS, method="direct", steps=4, guidance=3.0)
    edits = [[Edit(prompt="woman with lines"), Edit(prompt=prompt)] for prompt in PROMPTS]
    whole, late = (editing.edit(tiny_sd, inversion, edits, skip=skip).latents for skip in (0, 3))
    np.testing.assert_array_equal(late[:, 0], latents)
    for latent in (whole, late):
        np.testing.assert_allclose(latent[:, 2], latents, atol=1e-4)  # nothing changed
    assert 0 < relative_distance(late[:, 1], latents) < relative_distance(whole[:, 1], latents)
    with pytest.raises(ValueError, match="skip is 4, the inversion has 4 steps; use 0 to 3"):
        editing.edit(tiny_sd, inversion, edits, skip=4)


def test_neither_prompts_nor_images_nor_strengths_retrace(tiny_sd, latents):
    traces = lambda: (inversion_lib._invert._cache_size(), stable_diffusion._encode_prompt._cache_size())
    editing.invert(tiny_sd, latents, PROMPTS, **NULL_TEXT)
    traced = traces()
    editing.invert(tiny_sd, latents[::-1], ["woman", "pacemaker"], **NULL_TEXT, guidance=2.0, tolerance=1.0)
    assert traces() == traced


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"method": "null"},
            "inversion method 'null' is not known; use one of ddim, null_text, negative_prompt, direct",
        ),
        ({"prompts": ["man"]}, "1 prompts for 2 images; give one prompt per image"),
        ({"inner_steps": -1}, "inner_steps is -1; use 0 or more"),
        ({"steps": 0}, "steps is 0; use 1 to 1000"),
        ({"latents": jnp.zeros((2, 4, 4))}, r"latents have the shape \(2, 4, 4\); give \[b, h, w, c\]"),
        ({"latents": jnp.zeros((2, 4, 5, 4))}, "a latent side of 5 is not divisible by the UNet's factor 2"),
        ({"prompts": ["man", "man " * 80]}, "prompt of 82 tokens, the limit is 77; shorten it"),
        ({"prompts": "ab"}, "prompts is one string"),
    ],
)
def test_input_that_does_not_fit_is_refused_before_work(changed, said, two_level_sd, latents):
    given = {"latents": latents, "prompts": PROMPTS, "steps": 3} | changed
    with pytest.raises(ValueError, match=said):
        editing.invert(two_level_sd, **given)
