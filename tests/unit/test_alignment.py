"""Token tables agree with prompt-to-prompt to the last entry, and words of our captions are found."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from prism_jax.editing import alignment

CAPTION = "Chest X-ray of a 63-year-old man, AP view, with cardiomegaly, no effusion, pacemaker, no support lines"


def letters(text, return_offsets_mapping, verbose=False):
    """A tokenizer as CLIP's, but with a token for every two letters of a word and every other character."""
    spans = [found.span() for found in re.finditer(r"[A-Za-z]{1,2}|[^A-Za-z\s]", text)]
    ids = [int.from_bytes(text[a:b].lower().encode()) for a, b in spans]
    return SimpleNamespace(input_ids=[1, *ids, 2], offset_mapping=[(0, 0), *spans, (0, 0)])


def pieces(text, word):
    """What the tokens found for `word` stand for."""
    spans = letters(text, True).offset_mapping
    return [text[slice(*spans[i])] for i in alignment.word_indices(text, word, letters)]


def test_punctuation_and_case_are_ignored_only_when_nothing_matches_to_the_letter():
    assert pieces("with edema, Edema", "edema") == ["ed", "em", "a", "Ed", "em", "a"]
    assert pieces("with edema, Edema", "Edema") == ["Ed", "em", "a"]
    assert pieces("with edema, Edema", "edema,") == ["ed", "em", "a", ","]
    assert pieces("with edema, Edema", "EDEMA") == ["ed", "em", "a", "Ed", "em", "a"]


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
