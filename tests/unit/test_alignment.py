"""Token tables agree with prompt-to-prompt to the last entry, and words of our captions are found."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from transformers import CLIPTokenizer

from prism_jax.editing import alignment
from tests.conftest import load_trace, shared_folder

CAPTION = "Chest X-ray of a 63-year-old man, AP view, with cardiomegaly, no effusion, pacemaker, no support lines"


def letters(text, return_offsets_mapping):
    """A tokenizer as CLIP's, but with a token for every two letters of a word and every other character."""
    spans = [found.span() for found in re.finditer(r"[A-Za-z]{1,2}|[^A-Za-z\s]", text)]
    ids = [int.from_bytes(text[a:b].lower().encode()) for a, b in spans]
    return SimpleNamespace(input_ids=[1, *ids, 2], offset_mapping=[(0, 0), *spans, (0, 0)])


def pieces(text, word, **options):
    """What the tokens found for `word` stand for."""
    spans = letters(text, True).offset_mapping
    return [text[slice(*spans[i])] for i in alignment.word_indices(text, word, letters, **options)]


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
                assert alignment.word_indices(row[side], word, clip, exact=True).tolist() == expected
                if expected:  # the fallback never adds to what is found to the letter
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


def test_punctuation_and_case_are_ignored_only_when_nothing_matches_to_the_letter():
    assert pieces("with edema, Edema", "edema") == ["ed", "em", "a", "Ed", "em", "a"]
    assert pieces("with edema, Edema", "Edema") == ["Ed", "em", "a"]
    assert pieces("with edema, Edema", "edema,") == ["ed", "em", "a", ","]
    assert pieces("with edema, Edema", "EDEMA", exact=True) == []


def test_a_phrase_is_found_as_a_whole_and_only_so():
    assert pieces(CAPTION, "support lines") == ["su", "pp", "or", "t", "li", "ne", "s"]
    assert pieces(CAPTION, "no effusion") == ["no", "ef", "fu", "si", "on"]
    assert pieces(CAPTION, "no") == ["no", "no"]
    assert pieces(CAPTION, "no cardiomegaly") == []


@pytest.mark.parametrize("word", ["ray", "pace", "pneumothorax", "", " ", ","])
def test_what_is_not_a_word_of_the_prompt_is_not_found(word):
    found = alignment.word_indices(CAPTION, word, letters)
    assert found.shape == (0,)
    assert found.dtype == np.int32


def test_a_prompt_refined_to_itself_maps_every_token_to_itself():
    mapper, alphas = alignment.refinement(CAPTION, CAPTION, letters)
    np.testing.assert_array_equal(mapper, np.arange(77))
    np.testing.assert_array_equal(alphas, np.ones(77))


def test_refinement_leaves_out_what_was_added_and_keeps_the_rest():
    mapper, alphas = alignment.refinement("no edema", "no big edema", letters)
    assert mapper[:8].tolist() == [0, 1, -1, -1, 2, 3, 4, 5]
    np.testing.assert_array_equal(alphas == 0, mapper == -1)


def test_of_two_swapped_words_refinement_keeps_the_one_that_comes_first_in_the_target():
    """prompt-to-prompt breaks the tie by leaving the later target word unmatched; no reference pair shows it."""
    mapper, _ = alignment.refinement("ab cd", "cd ab", letters)
    assert mapper[:4].tolist() == [0, 2, -1, 3]


def test_a_prompt_replaced_by_itself_keeps_every_token():
    np.testing.assert_array_equal(alignment.replacement(CAPTION, CAPTION, letters), np.eye(77))


def test_a_longer_word_shares_the_attention_of_the_one_it_replaces():
    mapper = alignment.replacement("a man old", "a woman old", letters)
    expected = np.array([[1 / 3] * 3, [1 / 3] * 3], np.float32)  # "ma n" -> "wo ma n"
    np.testing.assert_array_equal(mapper[2:4, 2:5], expected)
    assert mapper[2:4].sum() == pytest.approx(2)


def test_a_window_for_all_words_gives_way_to_the_one_of_a_word():
    alphas = alignment.time_word_alphas("no edema", 10, {"default_": (0.2, 0.6), "edema": 0.4}, letters)
    assert alphas.shape == (11, 77)
    assert np.flatnonzero(alphas[:, 1]).tolist() == [2, 3, 4, 5]
    assert np.flatnonzero(alphas[:, 2]).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("bounds", [-0.1, 1.1, (0.6, 0.2), float("nan")])
def test_a_window_outside_the_run_is_refused(bounds):
    with pytest.raises(ValueError, match="0 <= start <= end <= 1"):
        alignment.step_window(bounds, 10)


def test_a_word_that_is_not_in_the_prompt_cannot_be_weighted():
    with pytest.raises(ValueError, match="'edema' is not in the prompt"):
        alignment.equalizer(CAPTION, {"edema": 2.0}, letters)
    with pytest.raises(ValueError, match="'edema' is not in the prompt"):
        alignment.time_word_alphas(CAPTION, 10, {"edema": 0.5}, letters)


def test_a_prompt_too_long_for_the_text_encoder_is_refused():
    with pytest.raises(ValueError, match="the limit is 77"):
        alignment.refinement("edema", "edema " * 40, letters)
