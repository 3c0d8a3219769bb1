"""Low-rank changes: added to weights as in training, and written as diffusers has them and read back."""

import json

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from prism_jax.models.text_encoder import CLIPTextModel
from prism_jax.models.unet import UNet2DCondition
from prism_jax.training.finetune import lora as finetune_lora
from prism_jax.training.finetune.lora import Lora
from prism_jax.weights import lora
from tests import tiny_configs
from tests.conftest import untrained

# Matrices under every name that diffusers spells otherwise, and in both networks.
MATRICES = r"(attn2\.(to_k|to_out)|ff\.proj_(in|out)|time_emb_proj|self_attn\.q_proj|fc2)\.kernel$"
CONVOLUTIONS = ("unet.down_blocks.0.attentions.0.proj_in", "unet.down_blocks.0.resnets.0.conv1", "unet.conv_out")
ATTENTION = "mid_block.attentions.0.transformer_blocks.0.attn2"
LAYER = "encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def weights():
    networks = {
        "unet": untrained(UNet2DCondition, tiny_configs.unet()),
        "text_encoder": untrained(CLIPTextModel, tiny_configs.text_encoder()),
    }
    return {name: nnx.to_pure_dict(nnx.state(network)) for name, network in networks.items()}


@pytest.fixture(scope="module")
def factors(weights):
    """Changes of rank 3 of matrices and convolutions, as after some training: no factor is zero."""
    options = Lora(rank=3, targets=MATRICES)
    made = jax.eval_shape(lambda w: finetune_lora.low_rank(w, options, seed=0), weights)  # compiles nothing
    for name in CONVOLUTIONS:
        path = [int(part) if part.isdigit() else part for part in name.split(".")]
        kernel, place = weights, made
        for part in path:
            kernel, place = kernel[part], place.setdefault(part, {})
        h, w, inputs, outputs = kernel["kernel"].shape
        place["kernel"] = {"a": np.zeros((h, w, inputs, 3)), "b": np.zeros((3, outputs))}
    draw = np.random.default_rng(1)
    return jax.tree.map(lambda x: draw.normal(size=x.shape).astype(np.float32), made)


def attended(tree):
    return tree["unet"]["mid_block"]["attentions"][0]["transformer_blocks"][0]["attn2"]


@pytest.mark.parametrize("alpha", [None, 6.0])
def test_merged_weights_are_those_that_training_computes_with(alpha, weights, factors):
    scale = Lora(rank=3, alpha=alpha).scale
    trained = jax.jit(lambda w, f: finetune_lora.changed(w, f, scale))(weights, factors)
    merged = lora.merge(weights, factors, scale)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), merged, trained)
    found, kernel = attended(merged), attended(weights)["to_k"]["kernel"]
    a, b = attended(factors)["to_k"]["kernel"].values()
    np.testing.assert_allclose(found["to_k"]["kernel"], kernel + scale * np.einsum("ir,ro->io", a, b), atol=1e-5)


def test_what_has_no_factors_stays_bit_for_bit(weights, factors):
    merged = lora.merge(weights, factors)
    moved = jax.tree_util.tree_leaves_with_path(jax.tree.map(lambda a, b: not np.array_equal(a, b), merged, weights))
    changed = {jax.tree_util.keystr(path) for path, has_moved in moved if has_moved}
    pairs = jax.tree.leaves_with_path(factors, is_leaf=lambda tree: set(tree) == {"a", "b"})
    assert changed == {jax.tree_util.keystr(path) for path, _ in pairs}
    assert attended(merged)["to_q"]["kernel"] is attended(weights)["to_q"]["kernel"]


def test_a_changed_convolution_adds_two_in_a_row(weights, factors):
    convolve = lambda x, kernel: jax.lax.conv_general_dilated(
        x, np.asarray(kernel), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    kernel, pair = (tree["unet"]["conv_out"]["kernel"] for tree in (weights, factors))
    x = np.random.default_rng(2).normal(size=(1, 4, 4, kernel.shape[2])).astype(np.float32)
    made = convolve(x, lora.merge(weights, factors, 0.5)["unet"]["conv_out"]["kernel"])
    expected = convolve(x, kernel) + 0.5 * convolve(convolve(x, pair["a"]), pair["b"][None, None])
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4)


def test_written_factors_are_read_back_bit_for_bit(weights, factors, tmp_path):
    lora.save(factors, tmp_path / lora.FILE)
    jax.tree.map(np.testing.assert_array_equal, lora.load(tmp_path / lora.FILE, weights), factors)


def test_a_file_has_diffusers_names_and_shapes_and_the_scale_in_b(factors, tmp_path):
    lora.save(factors, tmp_path / lora.FILE, scale=4.0)
    tensors = load_file(tmp_path / lora.FILE)
    a, b = attended(factors)["to_out"]["kernel"].values()
    np.testing.assert_array_equal(tensors[f"unet.{ATTENTION}.to_out.0.lora_A.weight"], a.T)
    np.testing.assert_array_equal(tensors[f"unet.{ATTENTION}.to_out.0.lora_B.weight"], 4 * b.T)
    assert tensors[f"text_encoder.text_model.{LAYER}.lora_A.weight"].shape == (3, 16)
    assert tensors["unet.down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj.lora_B.weight"].shape == (64, 3)
    assert tensors["unet.conv_out.lora_A.weight"].shape == (3, 8, 3, 3)
    assert tensors["unet.conv_out.lora_B.weight"].shape == (4, 3, 1, 1)


def test_merging_a_file_of_scaled_factors_equals_merging_with_the_scale(weights, factors, tmp_path):
    lora.save(factors, tmp_path / lora.FILE, scale=0.3)
    read, direct = lora.merge(weights, lora.load(tmp_path / lora.FILE, weights)), lora.merge(weights, factors, 0.3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), read, direct)


def test_names_without_text_model_are_read_too(weights, factors, tmp_path):
    lora.save(factors, tmp_path / "old")
    save_file(
        {name.replace(".text_model.", "."): t for name, t in load_file(tmp_path / "old").items()}, tmp_path / "new"
    )
    old, new = (lora.load(tmp_path / name, weights) for name in ("old", "new"))
    jax.tree.map(np.testing.assert_array_equal, old, new)


@pytest.mark.parametrize(
    ("settings", "scales"),
    [
        ({"unet.r": 3, "unet.lora_alpha": 6}, (2, 2, 1)),
        ({"unet.lora_alpha": 6, "unet.use_rslora": True}, (6 / 3**0.5, 6 / 3**0.5, 1)),
        ({"unet.lora_alpha": 6, "unet.alpha_pattern": {"attn2.to_k": 9}, "text_encoder.lora_alpha": 1}, (3, 2, 1 / 3)),
    ],
)
def test_an_alpha_that_a_file_tells_is_multiplied_in(settings, scales, weights, factors, tmp_path):
    lora.save(factors, tmp_path / "plain")
    save_file(load_file(tmp_path / "plain"), tmp_path / "told", {"lora_adapter_metadata": json.dumps(settings)})
    plain, told = (lora.load(tmp_path / name, weights) for name in ("plain", "told"))
    layer = lambda tree: tree["text_encoder"]["layers"][0]["mlp"]["fc2"]
    for place, scale in zip(
        (lambda t: attended(t)["to_k"], lambda t: attended(t)["to_out"], layer), scales, strict=True
    ):
        np.testing.assert_array_equal(place(told)["kernel"]["a"], place(plain)["kernel"]["a"])
        np.testing.assert_allclose(place(told)["kernel"]["b"], scale * place(plain)["kernel"]["b"], rtol=1e-6)


def test_all_tensors_that_do_not_fit_are_in_one_error(weights, factors, tmp_path):
    lora.save(factors, tmp_path / lora.FILE)
    tensors = load_file(tmp_path / lora.FILE)
    del tensors["unet.conv_out.lora_A.weight"]
    tensors |= {"unet.conv_out.lora_magnitude_vector": np.zeros(4), "vae.x.lora_A.weight": np.zeros((1, 1))}
    save_file(tensors, tmp_path / lora.FILE)
    with pytest.raises(ValueError, match="does not fit") as error:
        lora.load(tmp_path / lora.FILE, weights)
    said = str(error.value)
    assert "unread ['unet.conv_out.lora_magnitude_vector', 'vae.x.lora_A.weight']" in said
    assert "one factor only of ['unet.conv_out.kernel']" in said
    assert "\n" not in said


def test_changes_of_another_model_are_all_listed(weights, factors):
    pair = lambda inputs, rank, outputs: {"kernel": {"a": np.zeros((inputs, rank)), "b": np.zeros((3, outputs))}}
    strange = {
        "unet": {"conv_out": pair(8, 3, 4), "gate": pair(1, 3, 1)},
        "text_encoder": {"layers": {7: pair(2, 3, 2)}},
    }
    with pytest.raises(ValueError, match="low-rank changes do not fit the model") as error:
        lora.merge(weights, strange)
    for said in (
        "unet.conv_out.kernel (8, 3) @ (3, 4) for (3, 3, 8, 4)",
        "unet.gate.kernel (1, 3) @ (3, 1) for no parameter",
        "text_encoder.layers.7.kernel",
    ):
        assert said in str(error.value)
    uneven = {"unet": {"time_embedding": {"linear_1": pair(8, 2, 32)}}}
    with pytest.raises(ValueError, match=r"\(8, 2\) @ \(3, 32\) for \(8, 32\)"):
        lora.merge(weights, uneven)


def test_changes_of_an_embedding_have_no_place_in_a_file(weights, tmp_path):
    found = finetune_lora.low_rank(weights, Lora(rank=1, targets=r"^text_encoder\.token_embedding\.embedding$"), seed=0)
    with pytest.raises(ValueError, match=r"not text_encoder\.token_embedding\.embedding; merge"):
        lora.save(found, tmp_path / lora.FILE)
    merged = lora.merge(weights, found)["text_encoder"]["token_embedding"]["embedding"]
    np.testing.assert_array_equal(merged, weights["text_encoder"]["token_embedding"]["embedding"])  # b is zero at first


def test_a_cut_off_file_is_one_line_that_names_it(weights, factors, tmp_path):
    file = tmp_path / lora.FILE
    lora.save(factors, file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"is not a whole safetensors file .*; copy it again"):
        lora.load(file, weights)
