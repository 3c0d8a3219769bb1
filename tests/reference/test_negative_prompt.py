"""Negative-prompt inversion: embeddings of the authors' code."""

import jax
import numpy as np

from prism_jax import editing
from prism_jax.diffusion import ddim, sampling
from tests.conftest import channels_last
from tests.reference.conftest import load_trace


def test_embedding_and_reconstruction_agree_with_the_reference(sd15):
    given, made = load_trace("08_ddim_inversion").arrays, load_trace("10_other_inversions")
    clean, *_, noisiest = channels_last(given["image0_ddim_inversion_latents"])[:, None]
    options = dict(method="negative_prompt", steps=10, guidance=7.5)
    inversion = editing.invert(sd15, clean, [made.meta["direct"]["source"]], **options)
    np.testing.assert_allclose(inversion.null_context[0], made.arrays["npi_interp0.0_uncond"], rtol=0, atol=3e-5)

    @jax.jit
    def sample(unet, latents, context, null, table):
        return ddim.sample(sampling.guided(unet, context, null, 7.5), latents, table)[0]

    table = ddim.ddim_table(sd15.schedule, 10)
    latents = sample(sd15.unet, noisiest, inversion.context, inversion.null_context[0], table)
    expected = channels_last(made.arrays["npi_interp0.0_reconstruction"])
    np.testing.assert_allclose(latents, expected, rtol=0, atol=5e-4)
