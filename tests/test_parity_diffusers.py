"""What we save, PyTorch diffusers loads, and it computes the same (make parity)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.weights import pretrained
from tests.conftest import channels_last

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

torch = pytest.importorskip("torch", reason="PyTorch is not installed; make parity does")
diffusers = pytest.importorskip("diffusers", reason="PyTorch diffusers is not installed; make parity does")

PROMPT = "Chest X-ray showing Cardiomegaly"
BOUND = 3e-5  # of one network call in float32


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def channels_first(array: np.ndarray) -> "torch.Tensor":
    return torch.tensor(np.moveaxis(np.asarray(array), -1, -3))


def ours(tensor: "torch.Tensor") -> jax.Array:
    return channels_last(tensor.detach().numpy())


@pytest.fixture(scope="module")
def folder(sd15, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    sd15.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pipeline(folder):
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_a_saved_folder_samples_the_same_image_in_diffusers(sd15, pipeline):
    latents, size = draw(1, 16, 16, 4), 16 * sd15.vae.config.factor
    options = dict(num_inference_steps=5, guidance_scale=7.5, height=size, width=size, output_type="pt")
    theirs = pipeline(PROMPT, latents=channels_first(latents), **options).images  # [b, c, h, w] in [0, 1]
    images = sd15.sample([PROMPT], steps=5, guidance=7.5, latents=jnp.asarray(latents))
    assert jnp.abs(images).max() < 1  # nothing is clipped, so that all of it is compared
    np.testing.assert_allclose(images, 2 * ours(theirs) - 1, rtol=0, atol=1e-3)


def test_every_network_of_a_saved_folder_computes_the_same_in_diffusers(sd15, pipeline):
    ids = sd15.tokenize([PROMPT, ""])
    theirs = pipeline.tokenizer([PROMPT, ""], padding="max_length", max_length=77).input_ids
    np.testing.assert_array_equal(ids, theirs)
    with torch.no_grad():
        states = pipeline.text_encoder(torch.tensor(ids.astype(np.int64)))[0].numpy()
        images, latents, context = draw(1, 64, 64, 3), draw(2, 16, 16, 4), draw(2, 77, 32)
        posterior = pipeline.vae.encode(channels_first(images)).latent_dist
        decoded = pipeline.vae.decode(channels_first(latents)).sample
        noise = pipeline.unet(channels_first(latents), 301, torch.tensor(context)).sample
    np.testing.assert_allclose(sd15.encode_prompt([PROMPT, ""]), states, rtol=0, atol=BOUND)
    scale = sd15.scaling_factor
    np.testing.assert_allclose(sd15.encode_image(images), scale * ours(posterior.mean), rtol=0, atol=BOUND)
    np.testing.assert_allclose(sd15.decode(latents * scale), ours(decoded), rtol=0, atol=BOUND)
    np.testing.assert_allclose(sd15.predict_noise(latents, 301, context), ours(noise), rtol=0, atol=BOUND)


def test_a_saved_unet_of_sd2_computes_the_same_in_diffusers(sd21_unet, tmp_path):
    pretrained.save_unet(sd21_unet, tmp_path / "unet")
    theirs = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "unet", local_files_only=True)
    latents, context = draw(2, 16, 16, 4), draw(2, 77, 32)
    with torch.no_grad():
        expected = theirs(channels_first(latents), 301, torch.tensor(context)).sample
    made = jax.jit(lambda unet, *args: unet(*args))(sd21_unet, latents, jnp.asarray(301), context)
    np.testing.assert_allclose(made, ours(expected), rtol=0, atol=BOUND)
