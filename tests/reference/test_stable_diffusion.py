"""Stable Diffusion pipelines: tokens, images and saved folders of diffusers."""

import dataclasses
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import stable_diffusion
from prism_jax.stable_diffusion import load_tokenizer
from tests.conftest import channels_last, relative_distance
from tests.reference.conftest import load_trace


def test_tokens_equal_the_reference_and_long_prompts_are_refused(sd15):
    meta = load_trace("01_tokenizer").meta
    short = [row for row in meta["rows"] if row["n_tokens"] <= meta["max_length"]]
    ids = sd15.tokenize([row["prompt"] for row in short])
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, [row["ids77"] for row in short])
    long = [row for row in meta["rows"] if row["n_tokens"] > meta["max_length"]]
    assert long
    for row in long:
        with pytest.raises(ValueError, match=rf"prompt of {row['n_tokens']} tokens, the limit is 77; shorten it"):
            sd15.tokenize(["short", row["prompt"]])


def test_padding_follows_the_folder_as_sd2_needs(sd15, reference, tmp_path):
    meta = load_trace("01_tokenizer").meta
    folder = shutil.copytree(reference / "models" / "sd15_tiny" / "tokenizer", tmp_path / "tokenizer")
    (folder / "special_tokens_map.json").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": "!"}))
    sd2 = dataclasses.replace(sd15, tokenizer=load_tokenizer(folder))
    full = meta["rows"][0]["ids_full"]
    expected = full + [meta["pad_sd21"]] * (meta["max_length"] - len(full))
    np.testing.assert_array_equal(sd2.tokenize([meta["rows"][0]["prompt"]])[0], expected)


def test_text_to_image_agrees_with_the_reference(sd15):
    """The first prompt's ten steps at 512 pixels; final latents, then the decoded picture."""
    arrays, meta = load_trace("06_text2image")
    prompts, start = meta["prompts"], channels_last(arrays["init_latents"])
    np.testing.assert_allclose(sd15.encode_prompt(prompts), arrays["cond"], rtol=0, atol=3e-5)
    options = dict(steps=meta["steps"], sampler="ddim")
    guidance, ids = jnp.float32(meta["guidance_scale"]), sd15.tokenize([prompts[0], ""])
    latents = stable_diffusion._sample(sd15.unet, sd15.text_encoder, sd15.schedule, start[:1], ids, guidance, **options)
    expected = channels_last(arrays["final_latents"])[:1]
    np.testing.assert_allclose(latents, expected, rtol=0, atol=5e-4)
    assert relative_distance(latents, expected) < 5e-5

    image = sd15.decode(latents)
    for part, name in (
        (image[:, ::4, ::4], "decoded0_every4th_pixel_nchw"),
        (image[:, 192:320, 192:320], "decoded0_rows192_320_cols192_320_nchw"),
    ):
        np.testing.assert_allclose(part, channels_last(arrays[name]), rtol=0, atol=5e-4)


def test_encoding_a_512_pixel_image_agrees_with_the_reference(sd15):
    arrays = load_trace("03_vae").arrays
    gray = jnp.asarray(arrays["full512_image_gray_u8_hw"], jnp.float32) / 127.5 - 1
    latents = sd15.encode_image(jnp.repeat(gray[None, :, :, None], 3, axis=3))
    np.testing.assert_allclose(latents, channels_last(arrays["full512_latents_scaled_mean"]), rtol=0, atol=3e-5)
