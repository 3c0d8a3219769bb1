"""From two prompts alone: the words that differ, all of which attention control finds again."""

import numpy as np
import pytest

from prism_jax import editing
from prism_jax.data import schema
from prism_jax.data.captions.templates import PLAIN
from prism_jax.editing import alignment
from prism_jax.editing.wording import differing, edit_between
from tests.unit.test_alignment import letters

CAPTION = "Chest X-ray of a 63-year-old man, AP view, with cardiomegaly, no effusion, pacemaker, no support lines"


@pytest.mark.parametrize(
    ("old", "new", "gone", "come"),
    [
        ("pacemaker", "no pacemaker", "pacemaker", "pacemaker"),
        ("no support lines", "support lines", "support lines", "support lines"),
        ("with cardiomegaly", "with no cardiomegaly", "cardiomegaly", "cardiomegaly"),
        ("a 63-year-old", "an 80-year-old", "63-year-old", "80-year-old"),
        ("63-year-old man", "63-year-old woman", "man", "woman"),
        ("AP view", "PA view", "AP", "PA"),
        (", pacemaker", "", "pacemaker", ""),
        ("with cardiomegaly, no effusion", "with no effusion", "cardiomegaly", ""),
        ("no support lines", "no support lines, lung opacity", "", "lung opacity"),
    ],
)
def test_the_words_of_an_edit_are_those_of_what_changes(old, new, gone, come):
    assert old in CAPTION
    expected = tuple(tuple(filter(None, [words])) for words in (gone, come))
    assert differing(CAPTION, CAPTION.replace(old, new)) == expected


def test_several_changes_and_free_text_are_told_apart_by_clause():
    assert differing("with edema, no effusion", "with no edema, effusion") == (("edema", "effusion"),) * 2
    assert differing("X-ray with a pacemaker", "X-ray without pacemaker") == (("pacemaker",), ("pacemaker",))
    assert differing("a large heart", "a normal heart.") == (("large",), ("normal",))
    assert differing(CAPTION, CAPTION) == ((), ())


def test_a_finding_whose_name_ends_another_is_found_itself():
    source, target = "with effusion, pericardial effusion", "with no effusion, pericardial effusion"
    ((phrase,), _) = differing(source, target)
    assert alignment.word_indices(source, phrase, letters)[0] == alignment.word_indices(source, "with", letters)[-1] + 1


def test_the_edit_follows_from_the_prompts():
    target = CAPTION.replace("pacemaker", "no pacemaker").replace("63", "40")
    edit = edit_between(CAPTION, target, weight=2.0, blend=0.4, cross_steps=0.6, self_steps=0.2)
    assert (edit.prompt, edit.kind, edit.cross_steps, edit.self_steps) == (target, "refine", 0.6, 0.2)
    assert edit.reweight == {"40-year-old": 2.0, "no pacemaker": 2.0}
    assert edit.blend == editing.Blend(
        words=("63-year-old", "pacemaker"), edit_words=("40-year-old", "pacemaker"), threshold=0.4
    )
    plain = edit_between(CAPTION, target)
    assert (plain.reweight, plain.blend) == (None, None)


def test_every_word_of_an_edit_is_found_in_its_prompt():
    rng = np.random.default_rng(0)
    names = ("lung opacity", "lung lesion", "pleural effusion", "pleural other", "covid-19", "edema")
    for _ in range(200):
        source, target = (random_caption(rng, names) for _ in range(2))
        if differing(source, target)[1] == ():
            continue
        edit = edit_between(source, target, weight=2.0, blend=0.3)
        assert (alignment.equalizer(target, edit.reweight, letters) == 2).any()
        for text, words in ((source, edit.blend.words), (target, edit.blend.edit_words)):
            assert all(len(alignment.word_indices(text, word, letters)) for word in words)


def random_caption(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    chosen = rng.permutation(names)[: rng.integers(5)]
    return PLAIN.describe(
        schema.Attributes(
            age=float(rng.integers(20, 90)),
            sex=["M", "F", None][rng.integers(3)],
            view=["AP", "PA", "AP supine"][rng.integers(3)],
            findings={str(name): bool(rng.random() < 0.5) for name in chosen},
        )
    )


def test_a_weight_or_a_blend_without_words_is_refused():
    with pytest.raises(ValueError, match="weight 2 finds no new word"):
        edit_between(CAPTION, CAPTION.replace("pacemaker, ", ""), weight=2.0)
    with pytest.raises(ValueError, match=r"blend 0.3 finds no word that differs"):
        edit_between(CAPTION, CAPTION, blend=0.3)
    assert edit_between(CAPTION, CAPTION).prompt == CAPTION
