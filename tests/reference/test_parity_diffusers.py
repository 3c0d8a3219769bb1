"""What we save, PyTorch diffusers loads, and it computes the same (make parity)."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.cli import export
from prism_jax.model_card import ModelCard
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.training.finetune.lora import Lora
from prism_jax.weights import lora, pretrained
from tests.conftest import channels_last, relative_distance
from tests.jit.test_export import factors_of, make_run, weights_of

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

torch = pytest.importorskip("torch", reason="PyTorch is not installed; make parity does")
diffusers = pytest.importorskip("diffusers", reason="PyTorch diffusers is not installed; make parity does")
peft = pytest.importorskip("peft", reason="peft is not installed; make parity does")

PROMPT = "Chest X-ray showing Cardiomegaly"
BOUND = 3e-5  # of one network call in float32
CHANGED_BOUND = 1e-4  # where they add low-rank changes to what a layer computes, and we to its kernel


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def channels_first(array: np.ndarray) -> "torch.Tensor":
    return torch.tensor(np.moveaxis(np.asarray(array), -1, -3))


def ours(tensor: "torch.Tensor") -> jax.Array:
    return channels_last(tensor.detach().numpy())


@pytest.fixture(scope="module")
def folder(sd15, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    dataclasses.replace(sd15, card=ModelCard().to_json()).save_pretrained(folder)  # a file that diffusers ignores
    return folder


def opened(folder: Path) -> "diffusers.StableDiffusionPipeline":
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def pipeline(folder):
    return opened(folder)


@pytest.fixture(scope="module")
def tuned(sd15, folder, tmp_path_factory) -> Path:
    """A run with low-rank changes of attention and of feed-forward parts, in both networks, multiplied by 1.5."""
    targets = r"(attn[12]\.to_(q|k|v|out)|ff\.proj_(in|out)|time_emb_proj|self_attn\.\w+|mlp\.fc1)\.kernel$"
    options = Lora(rank=4, alpha=6.0, targets=targets)
    factors = jax.tree.map(lambda x: x / 8, factors_of(weights_of(sd15), options))
    return make_run(tmp_path_factory.mktemp("tuned") / "run", folder, factors, options=options)


@pytest.fixture(scope="module")
def merged(tuned, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("merged") / "model"
    export.run(export.Options(run=tuned, out=folder))
    return folder


def assert_predicts_the_same(
    made: StableDiffusion, theirs: "diffusers.StableDiffusionPipeline", start: StableDiffusion
):
    """Noise and text agree, and both are far from what `start` makes of the same."""
    latents, context, ids = draw(2, 16, 16, 4), draw(2, 77, 32), made.tokenize([PROMPT, ""])
    with torch.no_grad():
        noise = ours(theirs.unet(channels_first(latents), 301, torch.tensor(context)).sample)
        states = theirs.text_encoder(torch.tensor(ids.astype(np.int64)))[0].numpy()
    np.testing.assert_allclose(made.predict_noise(latents, 301, context), noise, rtol=0, atol=CHANGED_BOUND)
    np.testing.assert_allclose(made.encode_prompt([PROMPT, ""]), states, rtol=0, atol=CHANGED_BOUND)
    assert relative_distance(start.predict_noise(latents, 301, context), noise) > 0.03
    assert relative_distance(start.encode_prompt([PROMPT, ""]), states) > 0.03


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
    pretrained.save(sd21_unet, tmp_path / "unet")
    theirs = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "unet", local_files_only=True)
    latents, context = draw(2, 16, 16, 4), draw(2, 77, 32)
    with torch.no_grad():
        expected = theirs(channels_first(latents), 301, torch.tensor(context)).sample
    made = jax.jit(lambda unet, *args: unet(*args))(sd21_unet, latents, jnp.asarray(301), context)
    np.testing.assert_allclose(made, ours(expected), rtol=0, atol=BOUND)


def test_merged_low_rank_changes_compute_the_same_in_diffusers(sd15, merged):
    assert_predicts_the_same(StableDiffusion.from_pretrained(merged), opened(merged), sd15)


def test_a_lora_file_loads_in_diffusers_and_predicts_what_ours_merged_predicts(sd15, folder, tuned, merged, tmp_path):
    export.run(export.Options(run=tuned, out=tmp_path / "changes", lora=True))
    theirs = opened(folder)
    theirs.load_lora_weights(tmp_path / "changes", local_files_only=True)
    assert_predicts_the_same(StableDiffusion.from_pretrained(merged), theirs, sd15)


def test_a_lora_file_names_everything_as_peft_does(sd15, folder, tuned, tmp_path):
    export.run(export.Options(run=tuned, out=tmp_path / "changes", lora=True))
    tensors, _ = diffusers.StableDiffusionPipeline.lora_state_dict(tmp_path / "changes", local_files_only=True)
    own = {name.removeprefix("unet."): value for name, value in tensors.items() if name.startswith("unet.")}
    modules = sorted({name.partition(".lora_")[0] for name in own})
    unet = opened(folder).unet
    peft.inject_adapter_in_model(peft.LoraConfig(r=4, lora_alpha=4, target_modules=modules), unet)
    assert {name: value.shape for name, value in peft.get_peft_model_state_dict(unet).items()} == {
        name: value.shape for name, value in own.items()
    }
    outcome = peft.set_peft_model_state_dict(unet, own)
    assert not outcome.unexpected_keys
    for name, value in peft.get_peft_model_state_dict(unet).items():
        torch.testing.assert_close(value, own[name], rtol=0, atol=0)


@pytest.mark.parametrize("settings", [dict(), dict(use_rslora=True), dict(alpha_pattern={"attn2.to_v": 1})])
def test_a_lora_file_of_diffusers_merges_into_ours_with_its_alpha(settings, sd15, folder, tmp_path):
    theirs = opened(folder)
    adapters = {
        "unet": peft.LoraConfig(r=3, lora_alpha=2, target_modules=["to_v", "to_out.0", "proj_in", "conv1"], **settings),
        "text_encoder": peft.LoraConfig(r=2, lora_alpha=3, target_modules=["v_proj", "fc2"], **settings),
    }
    options = {}
    for name, adapter in adapters.items():
        network = getattr(theirs, name)
        network.add_adapter(adapter)
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.data = torch.tensor(draw(*parameter.shape) / 8)
        options[f"{name}_lora_layers"] = peft.get_peft_model_state_dict(network)
        options[f"{name}_lora_adapter_metadata"] = adapter.to_dict()
    theirs.save_lora_weights(tmp_path, **options)
    change = lambda weights: lora.merge(weights, lora.load(tmp_path / lora.FILE, weights))
    assert_predicts_the_same(export.with_weights(sd15, change), theirs, sd15)
