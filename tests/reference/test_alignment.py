"""Token tables of prompt-to-prompt's own code, entry by entry."""

import numpy as np
import pytest
from transformers import CLIPTokenizer

from prism_jax.editing import alignment
from tests.reference.conftest import load_trace, shared_folder
from tests.unit.test_alignment import CAPTION


@pytest.fixture(scope="module")
def clip():
    folder = shared_folder("reference", "models", "sd15_tiny", "tokenizer")
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.fixture(scope="module")
def trace():
    return load_trace("07_seq_aligner")


def test_words_are_found_where_the_reference_finds_them(trace, clip):
    for row in trace.meta["rows"]:
        for side in ("source", "target"):
            for word, expected in row["word_inds"][side].items():
                if expected:  # where the reference finds nothing, ours ignores case and punctuation
                    assert alignment.word_indices(row[side], word, clip).tolist() == expected


def test_refinement_agrees_with_the_reference(trace, clip):
    for row in trace.meta["rows"]:
        mapper, alphas = alignment.refinement(row["source"], row["target"], clip)
        np.testing.assert_array_equal(mapper, trace.arrays[f"pair{row['index']:02d}_refine_mapper"])
        np.testing.assert_array_equal(alphas, trace.arrays[f"pair{row['index']:02d}_refine_alphas"])
        assert (mapper.dtype, alphas.dtype) == (np.int32, np.float32)
    source, *targets = trace.meta["triple"]
    mappers, alphas = zip(*(alignment.refinement(source, target, clip) for target in targets), strict=True)
    np.testing.assert_array_equal(mappers, trace.arrays["triple_refine_mapper"])
    np.testing.assert_array_equal(alphas, trace.arrays["triple_refine_alphas"])


def test_replacement_agrees_with_the_reference_or_both_refuse(trace, clip):
    for row in trace.meta["rows"]:
        if row["replace_error"]:
            with pytest.raises(ValueError, match="equal length"):
                alignment.replacement(row["source"], row["target"], clip)
        else:
            mapper = alignment.replacement(row["source"], row["target"], clip)
            np.testing.assert_array_equal(mapper, trace.arrays[f"pair{row['index']:02d}_replace_mapper"])


def test_equalizers_and_time_tables_agree_with_the_reference(trace, clip):
    for row in trace.meta["rows"]:
        name, words = f"pair{row['index']:02d}", row["equalizer"]
        weights = dict(zip(words["words"], words["values"], strict=True))
        factors = alignment.equalizer(row["target"], weights, clip)
        np.testing.assert_array_equal(factors, trace.arrays[f"{name}_equalizer"][0])
        for k, cross_steps in enumerate(row["cross_replace_steps"]):
            for steps in (10, 50):
                alphas = alignment.time_word_alphas(row["target"], steps, cross_steps, clip)
                np.testing.assert_array_equal(alphas, trace.arrays[f"{name}_time_alpha_{k}_{steps}"])


def test_words_of_our_captions_are_found_with_clip(clip):
    ids = clip(CAPTION).input_ids
    for word in ("cardiomegaly", "no effusion", "Pacemaker", "support lines", "AP view", "63-year-old"):
        found = alignment.word_indices(CAPTION, word, clip)
        spelled = "".join(clip.decode([ids[i]]) for i in found)
        assert spelled == word.lower().replace(" ", "")
