"""VAE: latents and images of diffusers, at square and other sizes."""

import numpy as np
import pytest

from tests.conftest import channels_last
from tests.jit.test_autoencoder import decode, encode
from tests.reference.conftest import load_trace

BOUND = 3e-5  # of one network call; the reference's own rounding is 5e-6


@pytest.mark.parametrize("case", ["sq64", "rect96x64"])
def test_encoding_and_decoding_agree_with_the_reference(case, sd15):
    arrays = {
        name.removeprefix(f"{case}_"): channels_last(value)
        for name, value in load_trace("03_vae").arrays.items()
        if name.startswith(case) and value.ndim == 4
    }
    mean, logvar = encode(sd15.vae, arrays["pixel_values"])
    np.testing.assert_allclose(mean, arrays["mean"], rtol=0, atol=BOUND)
    np.testing.assert_allclose(logvar, arrays["logvar"], rtol=0, atol=BOUND)
    np.testing.assert_allclose(mean * sd15.scaling_factor, arrays["latents_scaled_mean"], rtol=0, atol=BOUND)
    decoded = decode(sd15.vae, arrays["mean"])
    np.testing.assert_allclose(decoded, arrays["decoded"], rtol=0, atol=BOUND)
    decoded = decode(sd15.vae, arrays["rand_latents"] / sd15.scaling_factor)
    np.testing.assert_allclose(decoded, arrays["rand_decoded"], rtol=0, atol=BOUND)
