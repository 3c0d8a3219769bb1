"""Offsets along a trajectory agree with the reference, and are what sampling needs to follow it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import editing
from prism_jax.diffusion import ddim, sampling
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.editing import Edit, Inversion, direct
from tests.conftest import channels_last, load_trace

GUIDANCE = 7.5


@pytest.mark.slow
def test_offsets_and_an_edit_agree_with_the_reference(sd15):
    given, made = load_trace("08_ddim_inversion").arrays, load_trace("10_other_inversions")
    trajectory = channels_last(given["image0_ddim_inversion_latents"])[:, None]
    options, null = made.meta["direct"], sd15.encode_prompt([""])
    table = ddim.ddim_table(sd15.schedule, 10)

    @jax.jit
    def offsets_of(unet, context):
        return direct.offsets(sampling.guided(unet, context, null, GUIDANCE), trajectory, table)

    context = sd15.encode_prompt([options["source"]])
    missed = offsets_of(sd15.unet, context)  # [t, 1, h, w, c]
    expected = channels_last(made.arrays["direct_noise_loss_source"])
    np.testing.assert_allclose(missed[:, 0], expected, rtol=0, atol=5e-4)

    inversion = Inversion(
        trajectory=trajectory,
        context=context,
        null_context=jnp.broadcast_to(null, (10, *null.shape)),
        offsets=missed,
        inner_iterations=jnp.zeros((10, 1), jnp.int32),
        guidance=jnp.float32(GUIDANCE),
        prompts=(options["source"],),
        method="direct",
    )
    # The authors lead the source alone: the edit takes no offset.
    edit = Edit(
        prompt=options["target"],
        cross_steps=options["cross_replace_steps"]["default_"],
        self_steps=options["self_replace_steps"],
        offsets=0.0,
    )
    latents = editing.edit(sd15, inversion, [[edit]]).latents[0]
    expected = channels_last(made.arrays["direct_edit_final"])
    np.testing.assert_array_equal(latents[0], trajectory[0, 0])
    np.testing.assert_allclose(latents, expected, rtol=0, atol=1e-3)


def test_steps_and_offsets_follow_any_path():
    draw = np.random.default_rng(0)
    path = jnp.asarray(draw.normal(size=(5, 2, 4, 4, 3)), jnp.float32)
    table = ddim.ddim_table(NoiseSchedule.create(ScheduleConfig()), 4)
    predict = lambda latents, t, step: 0.3 * latents + step
    offsets = direct.offsets(predict, path, table)
    latents = path[-1]
    for i in range(4):
        row = jax.tree.map(lambda x, i=i: x[i], table)
        latents = ddim.prev_step(latents, predict(latents, row.t, row.step), row) + offsets[i]
        np.testing.assert_allclose(latents, path[-2 - i], atol=1e-4)
