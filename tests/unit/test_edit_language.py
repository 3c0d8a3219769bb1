"""Edits in words become changes of the attributes that a caption states, under its own names."""

import pytest

from prism_jax.data.captions import phrases, synonyms
from prism_jax.data.captions.edit_language import parse, read
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.schema import Attributes

CHEXPERT = Attributes(
    age=63.8, sex="M", view="AP", findings={"Cardiomegaly": True, "Pleural Effusion": False, "Support Devices": True}
)
PHANTOM = Attributes(findings={"cardiomegaly": True, "effusion": False, "pacemaker": True, "support_lines": False})


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("remove cardiomegaly", {"Cardiomegaly": False}),
        ("Without the enlarged heart", {"Cardiomegaly": False}),
        ("no cardiomegaly", {"Cardiomegaly": False}),
        ("with no cardiomegaly", {"Cardiomegaly": False}),
        ("with an effusion", {"Pleural Effusion": True}),
        ("drop cardiomegaly", {"Cardiomegaly": None}),
        ("unmention age and view", {"age": None, "view": None}),
        ("set age 40", {"age": 40.0}),
        ("set age=40.5", {"age": 40.5}),
        ("SET Age to 40", {"age": 40.0}),
        ("set sex=woman", {"sex": "F"}),
        ("set sex F", {"sex": "F"}),
        ("set view=PA", {"view": "PA"}),
        ("set race to Asian", {"race": "Asian"}),
        ("set view to PA view", {"view": "PA"}),
        ("add foreign body", {"foreign body": True}),
        ("add ICD", {"pacemaker": True}),
        (
            "remove enlarged heart, set age 40; sex F, and add pleural effusion and oedema",
            {"Cardiomegaly": False, "age": 40.0, "sex": "F", "Pleural Effusion": True, "edema": True},
        ),
    ],
)
def test_words_become_a_change(text, change):
    assert read(text, CHEXPERT) == change


def test_adding_a_finding_drops_no_finding_and_a_device_does_not():
    normal = Attributes(findings={"finding": False})
    assert read("add edema, add big heart", normal) == {"edema": True, "cardiomegaly": True, "finding": None}
    assert read("add pacemaker", normal) == {"pacemaker": True}
    assert PLAIN.describe(phrases.changed(normal, read("add edema", normal))) == "Chest X-ray of a patient, with edema"


def test_an_uncertain_finding_can_be_added_removed_and_dropped():
    unsure = Attributes(findings={"Edema": None})
    for verb, value in (("add", True), ("remove", False), ("drop", None)):
        assert read(f"{verb} edema", unsure) == {"Edema": value}


def test_what_is_unknown_can_be_set():
    assert read("set age 0, sex M, view PA", PHANTOM) == {"age": 0.0, "sex": "M", "view": "PA"}


@pytest.mark.parametrize("word", ["lines", "central line", "Support_Lines", "support devices"])
def test_the_same_words_find_the_name_that_a_caption_has(word):
    assert read(f"remove {word}", CHEXPERT) == {"Support Devices": False}
    assert read(f"add {word}", PHANTOM) == {"support_lines": True}


def test_the_same_name_goes_before_a_synonym_and_two_synonyms_are_refused():
    both = ["lung nodule", "pulmonary nodule"]
    assert synonyms.find("Lung_Nodule", both) == "lung nodule"
    with pytest.raises(ValueError, match="'nodule' is ambiguous: lung nodule or pulmonary nodule"):
        synonyms.find("nodule", both)


def test_no_name_is_a_synonym_of_two_findings():
    names = [name for main, others in synonyms.NAMES.items() for name in (main, *others)]
    assert len(names) == len(set(names))
    assert all(name == phrases.spoken(name) and " and " not in name for name in names)


@pytest.mark.parametrize("text", ["remove cardiomegaly", "set age 40, sex F", "add effusion", "drop view"])
def test_an_instruction_prints_as_words_that_mean_the_same(text):
    assert parse(", ".join(map(str, parse(text)))) == parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no instruction in ''"),
        (" , ", "no instruction"),
        ("cardiomegaly", "no instruction in 'cardiomegaly'"),
        ("remove", "no instruction in 'remove'"),
        ("add edema, no", "no instruction in 'no'"),
        ("remove ETT", "mentions age, sex, view, cardiomegaly, pleural effusion, support devices, not ett"),
        ("drop ETT", "cannot drop ett"),
        ("remove effusion", "nothing to change: 'remove effusion' leaves the caption 'Chest.*as it is"),
        ("add enlarged heart", "nothing to change"),
        ("set age 63.1", "nothing to change"),
        ("set sex male", "nothing to change"),
        ("set view ap", "nothing to change"),
        ("add effusion, with pleural fluid", "pleural effusion is named twice"),
        ("remove enlarged heart, add cardiomegaly", "cardiomegaly is named twice"),
        ("add no edema", "write 'remove edema' or 'add edema'"),
        ("remove age", "write 'set age ...'"),
        ("set cardiomegaly no", "set age, sex, view"),
        ("set age", "'set age' is not understood"),
        ("set age 121", "age must be between 0 and 120 years, got '121'"),
        ("set age -1", "got '-1'"),
        ("set age nan", "got 'nan'"),
        ("set age old", "got 'old'"),
        ("set sex other", "sex must be one of .*got 'other'"),
    ],
)
def test_what_cannot_be_done_is_said(text, said):
    with pytest.raises(ValueError, match=said):
        read(text, CHEXPERT)
