"""Inversion and editing on eight devices and on one."""

import numpy as np
import pytest

from prism_jax import editing, sharding
from tests.conftest import relative_distance
from tests.jit.test_inversion import eight_images


@pytest.mark.parametrize("method", ["null_text", "edit_friendly", "direct", "negative_prompt", "ddim"])
def test_eight_devices_invert_and_edit_like_one(method, tiny_sd):
    latents, prompts, options, edits = eight_images(method)
    inversion = editing.invert(tiny_sd, latents, prompts, **options)
    expected = editing.edit(tiny_sd, inversion, edits).latents
    mesh = sharding.make_mesh()
    on_devices = editing.invert(tiny_sd.on(mesh), latents, prompts, **options, mesh=mesh)
    edited = editing.edit(tiny_sd.on(mesh), on_devices, edits, mesh=mesh).latents
    assert len(edited.sharding.device_set) == 8
    np.testing.assert_array_equal(on_devices.inner_iterations, inversion.inner_iterations)
    for i in range(8):
        assert relative_distance(edited[i], expected[i]) < 1e-4
