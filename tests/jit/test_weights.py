"""Weight files of diffusers and transformers fill our networks completely, or say in one line why not."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from prism_jax.models.autoencoder import AutoencoderKL
from prism_jax.models.clip import CLIP
from prism_jax.models.text_encoder import CLIPTextModel
from prism_jax.models.unet import UNet2DCondition
from prism_jax.weights import diffusers, files, pretrained
from tests import tiny_configs
from tests.conftest import manifest, untrained

STEM = pretrained.LAYOUTS[AutoencoderKL].stem  # of the VAE's files

DTYPES = (jnp.float32, jnp.bfloat16)
TINY = {
    "unet": (UNet2DCondition, tiny_configs.unet(), diffusers.UNET),
    "unet_linear": (
        UNet2DCondition,
        dataclasses.replace(tiny_configs.unet(), use_linear_projection=True),
        diffusers.UNET,
    ),
    "vae": (AutoencoderKL, tiny_configs.autoencoder(), diffusers.AUTOENCODER),
    "text_encoder": (CLIPTextModel, tiny_configs.text_encoder(), diffusers.TEXT_ENCODER),
    "clip": (CLIP, tiny_configs.clip(), diffusers.CLIP),
}


@pytest.fixture
def vae() -> AutoencoderKL:
    return untrained(AutoencoderKL, tiny_configs.autoencoder())


@pytest.fixture
def folder(vae, tmp_path):
    """A folder with one network, in full precision and whole."""
    pretrained.save(vae, tmp_path)
    return tmp_path


def weights(folder):
    return folder / f"{STEM}.safetensors"


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def rounded(network, dtype):
    """The network with parameters as a file of `dtype` holds them."""
    return jax.tree.map(lambda x: np.asarray(x).astype(dtype).astype(np.float32), network)


@pytest.mark.parametrize("kind", TINY)
def test_written_tensors_fill_a_network_bit_for_bit(kind):
    network, config, names = TINY[kind]
    original = untrained(network, config)
    abstract = pretrained.abstract(network, config)
    tensors = diffusers.tensors_of(original, names)
    assert {name: value.shape for name, value in tensors.items()} == manifest(abstract, names)
    assert_same(diffusers.fill(abstract, tensors.items(), names), original)


def test_everything_that_does_not_fit_is_in_one_error(vae):
    tensors = diffusers.tensors_of(vae, diffusers.AUTOENCODER)
    del tensors["decoder.conv_in.bias"], tensors["encoder.conv_in.bias"]
    tensors |= {"extra.weight": np.zeros(3), "extra.bias": np.zeros(3), "quant_conv.bias": np.zeros(5, np.float32)}
    with pytest.raises(ValueError, match="weights do not fit") as error:
        diffusers.fill(pretrained.abstract(AutoencoderKL, vae.config), tensors.items(), diffusers.AUTOENCODER)
    said = str(error.value)
    assert "unread ['extra.bias', 'extra.weight']" in said
    assert "never filled ['decoder.conv_in.bias', 'encoder.conv_in.bias']" in said
    assert "quant_conv.bias (5,) for (8,)" in said
    assert "\n" not in said


def test_older_names_of_vae_attention_are_read_also_as_convolutions(folder, vae):
    older = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    tensors = load_file(weights(folder))
    for new, old in older.items():
        for name in [name for name in tensors if new in name]:
            value = tensors.pop(name)
            is_kernel_of_encoder = value.ndim == 2 and name.startswith("encoder")
            tensors[name.replace(new, old)] = value[:, :, None, None] if is_kernel_of_encoder else value
    assert any("proj_attn" in name for name in tensors)
    save_file(tensors, weights(folder))
    assert_same(pretrained.load(AutoencoderKL, folder), vae)


def test_text_encoders_are_read_without_their_prefix_and_with_their_buffer(tmp_path):
    original = untrained(CLIPTextModel, tiny_configs.text_encoder())
    pretrained.save(original, tmp_path)
    file = tmp_path / f"{pretrained.LAYOUTS[CLIPTextModel].stem}.safetensors"
    tensors = load_file(file)
    assert all(name.startswith("text_model.") for name in tensors)
    positions = {"text_model.embeddings.position_ids": np.arange(77)[None]}
    for other in (tensors | positions, {name.removeprefix("text_model."): tensors[name] for name in tensors}):
        save_file(other, file)
        assert_same(pretrained.load(CLIPTextModel, tmp_path), original)


def test_half_precision_files_are_read_as_float32_and_full_ones_preferred(folder, vae):
    whole = load_file(weights(folder))
    half = {name: value.astype(np.float16) for name, value in whole.items()}
    save_file(half, folder / f"{STEM}.fp16.safetensors")
    assert_same(pretrained.load(AutoencoderKL, folder), vae)
    weights(folder).unlink()
    read = pretrained.load(AutoencoderKL, folder)
    assert {leaf.dtype for leaf in jax.tree.leaves(read)} == {jnp.dtype(jnp.float32)}
    assert_same(read, rounded(vae, jnp.float16))


def test_bfloat16_survives_writing_and_reading(vae, tmp_path):
    pretrained.save(vae, tmp_path, dtype=jnp.bfloat16)
    assert_same(pretrained.load(AutoencoderKL, tmp_path), rounded(vae, jnp.bfloat16))


def test_a_network_has_one_fingerprint_in_whatever_precision_it_is_stored_and_computes(vae, tmp_path):
    half = rounded(vae, jnp.bfloat16)
    pretrained.save(half, tmp_path / "half", dtype=jnp.bfloat16)
    pretrained.save(half, tmp_path / "full")
    read = [
        pretrained.load(AutoencoderKL, tmp_path / name, dtype=dtype) for name in ("half", "full") for dtype in DTYPES
    ]
    assert {pretrained.fingerprint(network) for network in read} == {pretrained.fingerprint(half)}
    assert pretrained.fingerprint(vae) != pretrained.fingerprint(half)
    half.config = dataclasses.replace(half.config, scaling_factor=0.2)
    assert pretrained.fingerprint(half) != pretrained.fingerprint(read[0])


def test_shards_are_read_together_and_a_missing_one_is_named(folder, vae):
    tensors = load_file(weights(folder))
    weights(folder).unlink()
    shards = {f"{STEM}-0000{i}-of-00002.safetensors": sorted(tensors)[i - 1 :: 2] for i in (1, 2)}
    for file, names in shards.items():
        save_file({name: tensors[name] for name in names}, folder / file)
    weight_map = {name: file for file, names in shards.items() for name in names}
    index = folder / f"{STEM}.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert_same(pretrained.load(AutoencoderKL, folder), vae)
    (folder / file).unlink()
    with pytest.raises(ValueError, match=rf"index.json names shards that are not there: \['{file}'\]"):
        pretrained.load(AutoencoderKL, folder)


def test_pickles_are_refused_with_the_way_to_convert_them(folder):
    weights(folder).rename(folder / f"{STEM}.bin")
    with pytest.raises(ValueError, match=r"\.bin is a pickle, .* never read; convert it once .*save_file\(torch\.load"):
        pretrained.load(AutoencoderKL, folder)


@pytest.mark.parametrize("kept", [0, 7, 2000, -1])
def test_a_cut_off_file_is_one_line_that_names_it(kept, folder):
    weights(folder).write_bytes(weights(folder).read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"is not a whole safetensors file .*; copy it again") as error:
        pretrained.load(AutoencoderKL, folder)
    assert str(weights(folder)) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_weights_or_config_says_what_is_missing(folder):
    weights(folder).unlink()
    with pytest.raises(ValueError, match=r"no weights in .*: expected diffusion_pytorch_model.safetensors"):
        pretrained.load(AutoencoderKL, folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is not valid JSON .*; copy it again"):
        pretrained.load(AutoencoderKL, folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config.json is missing; point to a model's folder"):
        pretrained.load(AutoencoderKL, folder)


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "model.safetensors"
    files.write({"a": np.zeros(2, np.float32)}, file)

    def full_disk(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(files, "save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        files.write({"a": np.ones(2, np.float32)}, file)
    assert list(tmp_path.iterdir()) == [file]
    np.testing.assert_array_equal(load_file(file)["a"], np.zeros(2))


def test_a_fingerprint_changes_with_any_weight(tmp_path):
    (tmp_path / "unet").mkdir()
    file = tmp_path / "unet" / "model.safetensors"
    file.write_bytes(b"weights")
    before = files.fingerprint(tmp_path)
    file.write_bytes(b"weightz")
    assert files.fingerprint(tmp_path) != before
