"""Captions state what is known, in one order, and an edit changes words in place."""

import numpy as np
import pytest

from prism_jax.data.captions.phrases import changed
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.schema import Attributes

describe, parse = PLAIN.describe, PLAIN.parse
FULL = Attributes(
    age=63.8,
    sex="M",
    view="AP",
    findings={"cardiomegaly": True, "effusion": False, "pacemaker": True, "support_lines": False},
)


def test_everything_known_is_stated_in_slot_order():
    assert describe(FULL) == (
        "Chest X-ray of a 63-year-old man, AP view, with cardiomegaly, no effusion, pacemaker, no support lines"
    )


@pytest.mark.parametrize(
    ("known", "caption"),
    [
        ({}, "Chest X-ray of a patient"),
        ({"sex": "F"}, "Chest X-ray of a woman"),
        ({"age": 40}, "Chest X-ray of a 40-year-old patient"),
        ({"view": "PA"}, "Chest X-ray of a patient, PA view"),
        ({"findings": {"Edema": None}}, "Chest X-ray of a patient, with possible edema"),
        ({"race": "Asian"}, "Chest X-ray of an Asian patient"),
        ({"race": "White", "sex": "F", "age": 8}, "Chest X-ray of an 8-year-old White woman"),
        ({"findings": {"COVID-19": True}}, "Chest X-ray of a patient, with covid-19"),
        ({"sex": "M", "findings": {"finding": False}}, "Chest X-ray of a man, with no finding"),
    ],
)
def test_what_is_unknown_is_left_out(known, caption):
    assert describe(Attributes(**known)) == caption


@pytest.mark.parametrize(
    ("age", "article"),
    [(8, "an"), (11, "an"), (18, "an"), (80, "an"), (89, "an"), (79, "a"), (90, "a"), (1, "a"), (100, "a")],
)
def test_the_article_fits_the_spoken_number(age, article):
    assert describe(Attributes(age=age)) == f"Chest X-ray of {article} {age}-year-old patient"


@pytest.mark.parametrize(
    "change", [{"age": 80}, {"sex": "F"}, {"view": "PA"}, {"support_lines": True}, {"pacemaker": False}]
)
def test_an_edit_leaves_the_other_slots_alone(change):
    before, after = describe(FULL).split(", "), describe(changed(FULL, change)).split(", ")
    assert len(before) == len(after)
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


def test_an_edit_and_its_inverse_restore_the_attributes():
    assert changed(changed(FULL, {"pacemaker": False, "age": 20}), {"pacemaker": True, "age": 63.8}) == FULL


def test_a_finding_is_found_under_its_spoken_name():
    assert changed(FULL, {"Support Lines": True}).findings["support_lines"] is True


def test_a_new_finding_is_appended_and_none_takes_one_away():
    assert describe(changed(FULL, {"edema": True})).endswith("no support lines, edema")
    assert "effusion" not in describe(changed(FULL, {"effusion": None}))


def test_a_finding_that_is_neither_present_nor_absent_is_refused():
    with pytest.raises(ValueError, match=r"pacemaker must be True .*got 'gone'"):
        changed(FULL, {"pacemaker": "gone"})


def random_attributes(rng: np.random.Generator) -> Attributes:
    names = ["cardiomegaly", "pleural effusion", "covid-19", "lung opacity", "support devices", "left-sided icd lead"]
    views = [None, "AP", "PA", "AP Supine", "lateral, left", "overview of the view"]
    chosen = rng.permutation(names)[: rng.integers(len(names) + 1)]
    return Attributes(
        age=None if rng.random() < 0.2 else float(rng.integers(0, 121)),
        sex=[None, "M", "F"][rng.integers(3)],
        race=[None, "White", "Asian", "Black or African American", "German"][rng.integers(5)],
        view=views[rng.integers(len(views))],
        findings={str(name): [True, False, None][rng.integers(3)] for name in chosen},
    )


def test_a_caption_reads_back_as_what_it_states():
    rng = np.random.default_rng(0)
    for _ in range(500):
        known = random_attributes(rng)
        read = parse(describe(known))
        assert read == known
        assert list(read.findings) == list(known.findings)


def test_a_caption_reads_back_in_spoken_names_and_completed_years():
    read = parse(describe(FULL))
    assert read.age == 63
    assert list(read.findings) == ["cardiomegaly", "effusion", "pacemaker", "support lines"]
    assert describe(read) == describe(FULL)


@pytest.mark.parametrize(
    ("caption", "part"),
    [
        ("", "'nothing'"),
        ("An X-ray of a man", "'An X-ray of a man'"),
        ("Chest X-ray of a dog, AP view", "'Chest X-ray of a dog'"),
        (
            "Chest X-ray of a 80-year-old woman",
            "'Chest X-ray of a 80.*write 'Chest X-ray of an 80-year-old woman'",
        ),
        (
            "Chest X-ray of a 063-year-old man",
            "'Chest X-ray of a 063.*write 'Chest X-ray of a 63-year-old man'",
        ),
        ("Chest X-ray of a human, AP view", "'Chest X-ray of a human'"),
        ("Chest X-ray of a man, AP, with edema", "'AP'.*the wording is 'Chest X-ray of {person}"),
        ("Chest X-ray of a man, AP view, edema", "'edema'"),
        ("Chest X-ray of a man, with", "'with'"),
        ("Chest X-ray of a man, with edema, ", "'nothing'"),
        ("Chest X-ray of a man, with edema, no Effusion", "'no Effusion'"),
        ("Chest X-ray of a man, with no no edema", "'with no no edema'"),
        ("Chest X-ray of a man, with no possible edema", "'with no possible edema'"),
        ("Chest X-ray of a Asian man", "'Chest X-ray of a Asian man'.*write 'Chest X-ray of an Asian man'"),
        ("Chest X-ray of a man, with edema, no edema", "'no edema'.*write 'Chest X-ray of a man, with no edema'"),
    ],
)
def test_a_caption_that_is_not_ours_is_refused_at_its_first_strange_part(caption, part):
    with pytest.raises(ValueError, match=rf"^{part}.*for example 'Chest X-ray of a 63-year-old man"):
        parse(caption)
