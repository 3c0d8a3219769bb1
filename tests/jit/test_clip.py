"""CLIP's features and similarities agree with the reference, and unusual edits get sensible scores."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from prism_jax.metrics import clip as metrics
from prism_jax.metrics.clip import ClipScorer
from prism_jax.metrics.resize import bicubic
from prism_jax.models.clip import CLIP, WRONG_END, CLIPConfig
from prism_jax.models.image_encoder import VisionConfig
from prism_jax.weights import diffusers, files, pretrained

PROMPTS = ["chest x ray with no effusion", "chest x ray with effusion", "old man", "woman"]


@pytest.fixture
def folder(scorer, tmp_path):
    """The same as a transformers folder, without its tokenizer."""
    tensors = diffusers.tensors_of(scorer.clip, diffusers.CLIP)
    files.write(tensors, tmp_path / "model.safetensors")
    text, vision = scorer.clip.config.text, scorer.clip.config.vision
    named = lambda config, names: {name: getattr(config, name) for name in names.split()}
    layers = "hidden_size intermediate_size num_hidden_layers num_attention_heads"
    config = {
        "text_config": named(text, f"{layers} vocab_size") | {"eos_token_id": scorer.clip.config.eos_token_id},
        "vision_config": named(vision, f"{layers} image_size patch_size") | {"projection_dim": 768},  # not the one used
        "projection_dim": vision.projection_dim,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.fixture(scope="session")
def images() -> jax.Array:
    """Two sources with two edits each, [2, 3, 24, 40, 3]."""
    return jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 3, 24, 40, 3)), jnp.float32)


def test_bicubic_is_the_published_kernel_with_repeated_edges():
    row = np.zeros((1, 1, 4, 1), np.float32)
    row[0, 0, 1] = 1
    # Doubled, the outputs lie a quarter and three quarters of a pixel past an input: Keys' kernel there, a = -0.75.
    at = lambda x: -0.75 * (x**3 - 5 * x**2 + 8 * x - 4) if x > 1 else 1.25 * x**3 - 2.25 * x**2 + 1
    impulse = [at(1.25), at(0.75), at(0.25), at(0.25), at(0.75), at(1.25), at(1.75), 0]
    np.testing.assert_allclose(bicubic(row, 1, 8)[0, 0, :, 0], impulse, atol=1e-6)
    edge = np.roll(row, -1, axis=2)  # pixel 0 stands for itself and for the two beyond it
    np.testing.assert_allclose(bicubic(edge, 1, 8)[0, 0, 0, 0], at(0.25) + at(0.75) + at(1.75), atol=1e-6)


def test_bicubic_keeps_constants_and_sizes_and_does_not_clamp(images):
    x = images[0]
    np.testing.assert_allclose(bicubic(jnp.full_like(x, 0.7), 7, 90), 0.7, atol=1e-6)
    np.testing.assert_array_equal(bicubic(x, *x.shape[1:3]), x)
    assert bicubic(jnp.sign(x), 64, 64).max() > 1.01
    np.testing.assert_allclose(bicubic(x, 9, 11), bicubic(x.swapaxes(1, 2), 11, 9).swapaxes(1, 2), atol=1e-6)


def test_an_edit_equal_to_its_source_has_no_direction(scorer, images):
    same = jnp.stack([images[:, 0], images[:, 0], images[:, 1]], axis=1)
    scores = scorer.score(same, PROMPTS[:2], [PROMPTS[1:3], PROMPTS[2:4]])
    np.testing.assert_array_equal(scores.direction[:, 0], 0)
    np.testing.assert_allclose(scores.image[:, 0], 1, atol=1e-6)
    assert jnp.all(scores.direction[:, 1] != 0)
    unchanged = scorer.score(images, PROMPTS[:2], [[PROMPTS[0], PROMPTS[1]], [PROMPTS[1], PROMPTS[0]]])
    np.testing.assert_array_equal(unchanged.direction[:, 0], 0)  # the prompt did not change
    assert jnp.all(unchanged.direction[:, 1] != 0)


def test_scores_do_not_depend_on_the_company_they_keep(scorer, images):
    prompts = [PROMPTS[1:3], PROMPTS[2:4]]
    together = scorer.score(images, PROMPTS[:2], prompts)
    for i in range(2):
        for j in range(2):
            alone = scorer.score(images[i : i + 1, [0, 1 + j]], PROMPTS[i : i + 1], [[prompts[i][j]]])
            np.testing.assert_allclose(together.source_text[i], alone.source_text[0], atol=1e-5)
            for name in ("image", "text", "direction"):
                ours, theirs = getattr(together, name)[i, j], getattr(alone, name)[0, 0]
                np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=name)


def test_nan_stays_in_its_own_scores(scorer, images):
    scores = scorer.score(images.at[0, 1, 5, 5].set(jnp.nan), PROMPTS[:2], [PROMPTS[1:3], PROMPTS[2:4]])
    for name in ("image", "text", "direction"):
        np.testing.assert_array_equal(np.isnan(getattr(scores, name)), [[True, False], [False, False]])
    assert not jnp.any(jnp.isnan(scores.source_text))


def test_new_prompts_and_images_do_not_retrace(scorer, images):
    scorer.score(images, PROMPTS[:2], [PROMPTS[1:3], PROMPTS[2:4]])
    traces = metrics._score._cache_size()
    scorer.score(-images, PROMPTS[2:4], [["a longer text of more words", "man"], PROMPTS[:2]])
    assert metrics._score._cache_size() == traces


def test_features_have_length_one_and_score_as_they_say(scorer, images):
    texts = [PROMPTS[0], *PROMPTS[1:3], PROMPTS[1], *PROMPTS[2:4]]  # of each image in turn
    image = metrics._image_features(scorer.clip, images.reshape(6, 24, 40, 3))
    text = metrics._text_features(scorer.clip, scorer._tokenize(texts))
    np.testing.assert_allclose(jnp.linalg.norm(jnp.concatenate([image, text]), axis=1), 1, atol=1e-6)
    scores = scorer.score(images, PROMPTS[:2], [PROMPTS[1:3], PROMPTS[2:4]])
    matches = jnp.concatenate([scores.source_text[:, None], scores.text], axis=1)
    np.testing.assert_allclose(matches.ravel(), jnp.sum(image * text, axis=1), atol=1e-6)


def test_half_precision_is_near_and_returns_float32(scorer, folder, images):
    half = ClipScorer(clip=pretrained.load(CLIP, folder, dtype=jnp.bfloat16), tokenizer=scorer.tokenizer)
    features, expected = (metrics._image_features(model.clip, images.reshape(6, 24, 40, 3)) for model in (half, scorer))
    assert features.dtype == jnp.float32
    assert 1e-5 < jnp.abs(features - expected).max() < 0.05


def test_a_folder_is_read_bit_for_bit_with_the_buffers_of_old_files(scorer, folder):
    file = folder / "model.safetensors"
    old = {f"{tower}_model.embeddings.position_ids": np.arange(5)[None] for tower in ("text", "vision")}
    save_file(load_file(file) | old, file)
    read = pretrained.load(CLIP, folder)
    assert read.config == scorer.clip.config
    jax.tree.map(np.testing.assert_array_equal, read, scorer.clip)


def test_a_folder_that_does_not_fit_is_one_error(folder):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    del tensors["logit_scale"], tensors["visual_projection.weight"]
    save_file(tensors | {"visual.weight": np.zeros(3, np.float32)}, file)
    said = r"unread \['visual.weight'\]; never filled \['logit_scale', 'visual_projection.weight'\]"
    with pytest.raises(ValueError, match=said):
        pretrained.load(CLIP, folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "clip_text_model"}))
    with pytest.raises(ValueError, match=r"no \['text_config', 'vision_config'\] in one of model_type 'clip_text"):
        pretrained.load(CLIP, folder)


def test_a_missing_or_foreign_tokenizer_is_refused(scorer, folder, tiny_sd):
    with pytest.raises(ValueError, match=r"no tokenizer in .*: expected vocab.json"):
        ClipScorer.from_pretrained(folder)
    tiny_sd.tokenizer.save_pretrained(folder)
    assert ClipScorer.from_pretrained(folder).clip.config == scorer.clip.config
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 7
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"ends texts with \d+, the model with 7; copy its own"):
        ClipScorer.from_pretrained(folder)


def test_configs_fall_back_on_the_defaults_of_transformers():
    config = CLIPConfig.from_dict({"text_config": {"eos_token_id": WRONG_END}, "vision_config": {"patch_size": 16}})
    assert (config.text.hidden_size, config.text.num_attention_heads, config.text.intermediate_size) == (512, 8, 2048)
    assert (config.vision.hidden_size, config.vision.patch_size, config.vision.projection_dim) == (768, 16, 512)
    assert config.end == 49407
    for wrong, said in (
        ({"hidden_act": "relu"}, "image encoder config: hidden_act 'relu' is not one of"),
        ({"image_size": 100}, "image_size 100 is not a multiple of patch_size 32"),
        ({"num_channels": 1}, "num_channels must be 3"),
    ):
        with pytest.raises(ValueError, match=said):
            VisionConfig.from_dict(wrong)


def test_what_cannot_be_scored_is_refused(scorer, images):
    edits = [PROMPTS[1:3], PROMPTS[2:4]]
    for wrong, sources, prompts, said in (
        (images[0], PROMPTS[:2], edits, r"images have the shape \(3, 24, 40, 3\); give \[b, 1 \+ e, h, w, 3\]"),
        (images.astype(jnp.uint8), PROMPTS[:2], edits, r"images are uint8; give floats in \[-1, 1\]"),
        (images, PROMPTS[:1], edits, r"2 sources of 2 edits each; 1 source prompts and \[2, 2\] edit prompts do not"),
        (images, PROMPTS[:2], [PROMPTS[:1], PROMPTS[:2]], r"2 source prompts and \[1, 2\] edit prompts do not fit"),
        (images, PROMPTS[:2], PROMPTS[:2], "prompts is one string; give a list"),
        (images[:, :1], PROMPTS[:2], [[], []], "2 sources of 0 edits each"),
        (images, [PROMPTS[0], "x" * 200], edits, "prompt of 202 tokens, the limit is 77"),
    ):
        with pytest.raises(ValueError, match=said):
            scorer.score(wrong, sources, prompts)
    with pytest.raises(ValueError, match=r"images have the shape \(1, 16, 16, 3\); resize them to \[b, 32, 32, 3\]"):
        scorer.clip.encode_image(jnp.zeros((1, 16, 16, 3)))
