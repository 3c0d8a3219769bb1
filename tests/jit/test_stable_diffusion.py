"""The bundle a user holds: tokens, text to image, and folders that appear whole or not at all."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import stable_diffusion
from prism_jax.stable_diffusion import StableDiffusion
from tests.conftest import relative_distance

PROMPTS = ["chest ray", "man with no effusion"]


def test_threads_tokenize_beside_each_other(tiny_sd):
    expected = tiny_sd.tokenize(PROMPTS)
    with ThreadPoolExecutor(4) as threads:
        for ids in threads.map(lambda _: tiny_sd.tokenize(PROMPTS), range(2000)):
            np.testing.assert_array_equal(ids, expected)


def test_one_string_is_not_taken_for_many_prompts(tiny_sd):
    with pytest.raises(ValueError, match=r'prompts is one string; give a list: \["man"\]'):
        tiny_sd.sample("man")


def test_sampling_is_seeded_and_neither_prompts_guidance_nor_seed_retrace(tiny_sd):
    first = tiny_sd.sample(PROMPTS, steps=2, seed=1)
    assert first.shape == (2, tiny_sd.size, tiny_sd.size, 3)
    traced = stable_diffusion._sample._cache_size()
    np.testing.assert_array_equal(tiny_sd.sample(PROMPTS, steps=2, seed=1), first)
    others = [
        tiny_sd.sample(PROMPTS, steps=2, seed=2),
        tiny_sd.sample(PROMPTS, steps=2, seed=1, guidance=3.0),
        tiny_sd.sample(["woman", "pacemaker view"], steps=2, seed=1),
    ]
    assert all(relative_distance(other, first) > 1e-3 for other in others)
    assert stable_diffusion._sample._cache_size() == traced


def test_a_picture_does_not_depend_on_those_beside_it(tiny_sd):
    both = tiny_sd.sample(PROMPTS, steps=2, seed=1)
    alone = tiny_sd.sample(PROMPTS[:1], steps=2, seed=1)
    np.testing.assert_allclose(both[:1], alone, atol=1e-4)


def test_dpm_solver_samples_too_and_unknown_samplers_are_refused(tiny_sd):
    latents = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 4, 4)), jnp.float32)
    ddim, dpm = (
        tiny_sd.sample(PROMPTS[:1], steps=2, latents=latents, sampler=sampler) for sampler in ("ddim", "dpm_solver")
    )
    assert jnp.isfinite(dpm).all()
    assert relative_distance(dpm, ddim) > 1e-3
    with pytest.raises(ValueError, match=r"sampler 'euler' is not known; use one of ddim, dpm_solver"):
        tiny_sd.sample(PROMPTS[:1], steps=2, latents=latents, sampler="euler")


@pytest.mark.parametrize(("height", "said"), [(40, "use 32 or 48"), (8, "use 16 or 32"), (-16, "not a multiple")])
def test_sizes_the_networks_cannot_take_are_refused_with_those_they_can(height, said, two_level_sd):
    with pytest.raises(ValueError, match=said):
        two_level_sd.sample(PROMPTS, steps=2, height=height)


def test_images_of_another_shape_are_refused(tiny_sd):
    with pytest.raises(ValueError, match=r"images have the shape \(1, 16, 16\); give \[b, h, w, 3\]"):
        tiny_sd.encode_image(jnp.zeros((1, 16, 16)))


def test_a_saved_folder_loads_back_bit_for_bit(tiny_sd, tmp_path):
    tiny_sd.save_pretrained(tmp_path / "new" / "model")
    loaded = StableDiffusion.from_pretrained(tmp_path / "new" / "model")
    for name in ("unet", "vae", "text_encoder", "schedule"):
        jax.tree.map(np.testing.assert_array_equal, getattr(loaded, name), getattr(tiny_sd, name))
    assert loaded.unet.config == tiny_sd.unet.config
    assert loaded.schedule.config == tiny_sd.schedule.config
    np.testing.assert_array_equal(loaded.tokenize(PROMPTS), tiny_sd.tokenize(PROMPTS))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["model"]


def test_an_existing_folder_is_never_written_over(tiny_sd, tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(ValueError, match=r"model exists; choose a new folder or remove it first"):
        tiny_sd.save_pretrained(tmp_path / "model")
    assert not list((tmp_path / "model").iterdir())


def test_a_write_that_fails_midway_leaves_nothing(tiny_sd, tmp_path, monkeypatch):
    def full_disk(*_, **__):
        assert list(tmp_path.rglob("*.safetensors"))  # something is written by now
        raise OSError("No space left on device")

    monkeypatch.setattr(stable_diffusion, "save_tokenizer", full_disk)
    with pytest.raises(OSError, match="No space left"):
        tiny_sd.save_pretrained(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_folders_that_are_no_models_are_refused_in_one_line(tiny_sd, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is not a diffusers folder: it has no unet/"):
        StableDiffusion.from_pretrained(tmp_path / "nowhere")
    tiny_sd.save_pretrained(tmp_path / "model")
    for part, said in (("tokenizer", "it holds the tokenizer"), ("scheduler", "scheduler_config.json is missing")):
        shutil.rmtree(tmp_path / "model" / part)
        with pytest.raises(ValueError, match=said):
            StableDiffusion.from_pretrained(tmp_path / "model")
