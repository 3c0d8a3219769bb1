"""DDIM inversion of diffusers' SD 1.5 topology."""

import numpy as np
import pytest

from prism_jax import editing
from tests.conftest import channels_last, relative_distance
from tests.reference.conftest import load_trace


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
