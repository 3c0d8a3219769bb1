"""CLIP: features and similarities of transformers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.metrics import clip as metrics
from prism_jax.metrics.clip import ClipScorer
from prism_jax.models.clip import CLIP
from prism_jax.stable_diffusion import tokenize
from tests.reference.conftest import load_trace

SIMILARITY, DIRECTION, FEATURES = 1e-6, 5e-5, 3e-5  # bounds; the reference's own rounding is a tenth of them


@pytest.fixture(scope="session")
def reference_scorer(reference, tmp_path_factory) -> ClipScorer:
    """The reference's small CLIP with the tokenizer of its Stable Diffusion, in one folder as they are published."""
    folder = tmp_path_factory.mktemp("clip")
    models = reference / "models"
    for file in (*(models / "clip_tiny").iterdir(), *(models / "sd15_tiny" / "tokenizer").iterdir()):
        (folder / file.name).symlink_to(file)
    return ClipScorer.from_pretrained(folder)


def pictures(arrays, name) -> jax.Array:
    """The images of a trace, grey ones repeated over colours, in [-1, 1]."""
    grey = f"{name}_gray_u8_nhw"
    values = np.repeat(arrays[grey][..., None], 3, axis=-1) if grey in arrays else arrays[f"{name}_u8_nhwc"]
    return jnp.asarray(values, jnp.float32) / 127.5 - 1


def assert_scores(scores, arrays, prefix):
    for ours, theirs, bound in (
        (scores.source_text, "sim_0", SIMILARITY),
        (scores.text.ravel(), "sim_1", SIMILARITY),
        (scores.image.ravel(), "sim_image", SIMILARITY),
        (scores.direction.ravel(), "sim_direction", DIRECTION),
    ):
        expected = arrays[f"{prefix}_{theirs}"]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=bound, err_msg=theirs)


@pytest.mark.parametrize("prefix", ["s128", "s512"])
def test_scores_of_pairs_agree_with_the_reference(prefix, reference_scorer):
    arrays, meta = load_trace("12_clip_similarity")
    pair = jnp.stack([pictures(arrays, f"{prefix}_image{i}") for i in (0, 1)], axis=1)
    edits = [[text] for text in meta["text1"][: len(pair)]]
    assert_scores(reference_scorer.score(pair, meta["text0"][: len(pair)], edits), arrays, prefix)


def test_scores_of_one_source_against_several_edits_agree_with_the_reference(reference_scorer):
    arrays, meta = load_trace("12_clip_similarity")
    sources, edits = (pictures(arrays, f"s128_image{i}") for i in (0, 1))
    together = jnp.concatenate([sources[:1], edits])[None]  # [1, 4, h, w, 3]
    assert_scores(reference_scorer.score(together, meta["text0"][:1], [meta["text1"]]), arrays, "bcast")


def test_both_towers_agree_with_the_reference_stage_by_stage(reference_scorer):
    arrays, meta = load_trace("12_clip_similarity")
    clip, size = reference_scorer.clip, reference_scorer.clip.config.vision.image_size
    images, raw_image, raw_text = [], [], []
    for i in (0, 1):
        images.append(pictures(arrays, f"s128_image{i}"))
        raw_image.append(arrays[f"s128_image{i}_raw_features"])
        raw_text.append(arrays[f"s128_text{i}_raw_features"])
    ours, expected = metrics.preprocess(images[0][:1], size), arrays["s128_preprocessed0_first"]
    np.testing.assert_allclose(ours, np.moveaxis(expected, 1, -1), rtol=0, atol=FEATURES)
    features = jax.jit(metrics.encode)(clip, jnp.concatenate(images))
    np.testing.assert_allclose(features, np.concatenate(raw_image), rtol=0, atol=FEATURES)
    # The reference pads with 0 after the end, our tokenizer with the end itself: no token after it counts.
    padded = np.concatenate([arrays[f"s128_text{i}_ids_zero_padded"] for i in (0, 1)])
    own = tokenize(reference_scorer.tokenizer, [*meta["text0"], *meta["text1"]], length=77)
    assert np.any(padded != own)
    encode_text = jax.jit(CLIP.encode_text)
    for ids in (padded, own):
        np.testing.assert_allclose(encode_text(clip, ids), np.concatenate(raw_text), rtol=0, atol=FEATURES)
