"""Maps of words: shares of attention that add up, of the words asked for, the same in any batch."""

import jax
import numpy as np
import pytest

from prism_jax.editing import alignment, word_maps
from prism_jax.evaluation.counterfactuals import attention_maps

PROMPTS = ["chest ray with no effusion, pacemaker", "man with effusion"]


@pytest.fixture(scope="module")
def latents(tiny_sd):
    return jax.random.normal(jax.random.key(0), (2, *tiny_sd.latent_shape(32, 32)))


@pytest.fixture(scope="module")
def maps(tiny_sd, latents) -> np.ndarray:
    return np.asarray(word_maps.token_maps(tiny_sd, latents, PROMPTS))


def test_the_attention_of_a_pixel_adds_up_over_the_tokens(maps):
    assert maps.shape == (2, 77, 4, 4)
    np.testing.assert_allclose(maps.sum(1), 1, atol=1e-5)
    assert (maps >= 0).all()


def test_a_picture_has_the_maps_that_it_has_in_another_batch(tiny_sd, latents, maps):
    swapped = word_maps.token_maps(tiny_sd, latents[::-1], PROMPTS[::-1])
    np.testing.assert_allclose(swapped[::-1], maps, atol=1e-5)


def test_words_are_all_that_have_a_letter_each_with_its_tokens(tiny_sd):
    words = alignment.words_of("with - effusion, no effusion.", tiny_sd.tokenizer)
    assert [word.text for word in words] == ["with", "effusion", "no", "effusion"]
    tokens = [token for word in words for token in word.tokens]
    assert len(set(tokens)) == len(tokens) > 0


def test_of_an_edit_all_new_words_are_shown_and_of_the_source_those_that_go(tiny_sd, monkeypatch):
    uniform = lambda sd, latents, prompts: np.full((2, 77, 4, 4), 1 / 77)
    monkeypatch.setattr(word_maps, "token_maps", uniform)
    pictures = (np.zeros((32, 32), np.uint8), np.full((32, 32), 200, np.uint8))
    found = attention_maps.maps_of_edit(tiny_sd, ("man with effusion", "man with no effusion"), pictures)
    told = [(one.word, one.is_edited, one.is_changed) for one in found]
    assert told == [
        ("effusion", False, True),
        ("man", True, False),
        ("with", True, False),
        ("no", True, True),
        ("effusion", True, True),
    ]
    shown = dict(zip(("reconstruction", "edit"), pictures, strict=True))
    assert attention_maps.sheet(tiny_sd, ("man with effusion", "man with no effusion"), shown).shape[2] == 3
