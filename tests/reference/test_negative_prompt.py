"""Negative-prompt inversion: embeddings of the authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.diffusion import ddim, sampling
from prism_jax.editing import negative_prompt
from tests.conftest import channels_last
from tests.reference.conftest import load_trace


@pytest.fixture(scope="module")
def sample():
    """Guided sampling from the end of an inversion, compiled once."""

    @jax.jit
    def sample(unet, latents, context, null, table):
        return ddim.sample(sampling.guided(unet, context, null, 7.5), latents, table)[0]

    return sample


@pytest.mark.parametrize("interpolation", [0.0, pytest.param(0.5, marks=pytest.mark.nightly)])
def test_embedding_and_reconstruction_agree_with_the_reference(interpolation, sample, sd15):
    given, made = load_trace("08_ddim_inversion").arrays, load_trace("10_other_inversions").arrays
    context, null = jnp.asarray(given["image0_cond"]), sd15.encode_prompt([""])
    embedding = negative_prompt.embedding(context, null, jnp.float32(interpolation))
    np.testing.assert_allclose(embedding, made[f"npi_interp{interpolation}_uncond"], rtol=0, atol=3e-5)
    noisiest = channels_last(given["image0_ddim_inversion_latents"])[-1:]
    latents = sample(sd15.unet, noisiest, context, embedding, ddim.ddim_table(sd15.schedule, 10))
    expected = channels_last(made[f"npi_interp{interpolation}_reconstruction"])
    np.testing.assert_allclose(latents, expected, rtol=0, atol=5e-4)
