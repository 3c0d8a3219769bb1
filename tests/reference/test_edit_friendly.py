"""Edit-friendly inversion: noise maps of the authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import editing
from prism_jax.diffusion import ddim, sampling
from prism_jax.editing import Edit, Inversion, direct, edit_friendly
from tests.conftest import channels_last
from tests.reference.conftest import load_trace


@pytest.fixture(scope="module")
def offsets_of():
    """Offsets along a path under any guidance, compiled once."""

    @jax.jit
    def offsets_of(unet, trajectory, context, null, guidance, table):
        return direct.offsets(sampling.guided(unet, context, null, guidance), trajectory, table, eta=1.0)

    return offsets_of


@pytest.mark.nightly
@pytest.mark.parametrize("cfg", ["1", "3.5"])
def test_path_noise_and_edits_agree_with_the_reference(cfg, offsets_of, sd15):
    arrays, meta = load_trace("10_other_inversions")
    options, table = meta["edit_friendly"], ddim.ddim_table(sd15.schedule, 10)
    null, context = sd15.encode_prompt([""]), sd15.encode_prompt([options["source"]])
    drawn = channels_last(arrays["ef_noise_in_call_order"])[::-1, None]  # in sampling order
    trajectory = edit_friendly.noisy_path(channels_last(arrays["ef_x0"]), drawn, table)
    offsets = offsets_of(sd15.unet, trajectory, context, null, jnp.float32(cfg), table)
    noise = (offsets / ddim.sigma(table)[:, None, None, None, None])[::-1, 0]  # clean steps first
    if cfg == "1":
        np.testing.assert_allclose(trajectory[:, 0], channels_last(arrays["ef_cfg1_xts"]), rtol=0, atol=5e-4)
        expected = channels_last(arrays["ef_cfg1_zs"])
    else:
        noise, expected = noise[:, ::2, ::2], channels_last(arrays["ef_cfg3.5_zs_sub2"])
    # The authors drop the noise of the last step; kept, the picture comes back exactly.
    np.testing.assert_allclose(noise[1:], expected[1:], rtol=0, atol=5e-4)
    theirs = trajectory[0] - offsets[-1]
    reconstruction = channels_last(arrays[f"ef_cfg{cfg}_reconstruction_skip0"])
    np.testing.assert_allclose(theirs, reconstruction, rtol=0, atol=5e-4)

    if cfg == "1":
        return  # the edit is compared at the guidance that matters
    inversion = Inversion(
        trajectory=trajectory,
        context=context,
        null_context=jnp.broadcast_to(null, (10, *null.shape)),
        offsets=offsets.at[-1].set(0),
        inner_iterations=jnp.zeros((10, 1), jnp.int32),
        guidance=jnp.float32(cfg),
        prompts=(options["source"],),
        method="edit_friendly",
    )
    edit = Edit(prompt=options["target"], cross_steps=0.0, self_steps=0.0, guidance=options["edit_cfg"][1])
    latents = editing.edit(sd15, inversion, [[edit]], skip=options["skip"]).latents[0]
    source, edited = channels_last(arrays[f"ef_cfg{cfg}_source_and_edit_skip3"])
    np.testing.assert_allclose(theirs[0], source, rtol=0, atol=1e-3)
    np.testing.assert_allclose(latents[1], edited, rtol=0, atol=1e-3)
