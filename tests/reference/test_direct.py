"""Direct inversion: offsets of the authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import editing
from prism_jax.diffusion import ddim, sampling
from prism_jax.editing import Edit, Inversion, direct
from tests.conftest import channels_last
from tests.reference.conftest import load_trace

GUIDANCE = 7.5


@pytest.mark.nightly
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
