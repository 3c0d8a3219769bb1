"""Every template reads back as what it states, and captions are sampled per example."""

import dataclasses

import numpy as np
import pytest

from prism_jax.data import schema
from prism_jax.data.captions import templates
from prism_jax.data.captions.templates import PARAPHRASES, PLAIN, PRISM, SUBJECT, CaptionConfig, Template
from prism_jax.data.schema import FINDING, Attributes
from tests.unit.test_phrases import random_attributes

EVERY = (*PARAPHRASES, PRISM)
KNOWN = Attributes(
    age=63.8,
    sex="F",
    view="AP",
    race="Asian",
    findings={"Cardiomegaly": True, "Support_Devices": True, "Edema": False, "Pneumonia": None},
)


def example(number: int = 3, text: str = "", known: Attributes = KNOWN) -> schema.Example:
    return schema.Example(
        id=number, image=b"", height=8, width=8, patient="p", path="", subject=-1, attributes=known, text=text
    )


def test_captions_of_the_papers():
    assert PRISM.describe(KNOWN) == "Chest X-ray showing Cardiomegaly, Support_Devices"
    assert SUBJECT.describe(KNOWN) == (
        "Chest X-ray of 63-years old Asian female subject with cardiomegaly, support devices"
    )


def test_a_chest_without_a_positive_finding_is_normal_only_where_that_is_stated():
    assert PRISM.describe(Attributes(findings={"Edema": False})) == "Chest X-ray"
    assert PRISM.describe(Attributes(findings={FINDING: False})) == "Chest X-ray showing No Finding"
    assert SUBJECT.describe(Attributes()) == "Chest X-ray of subject"


@pytest.mark.parametrize("template", EVERY)
def test_a_caption_reads_back_as_what_it_states(template):
    rng = np.random.default_rng(0)
    for _ in range(300):
        known = random_attributes(rng)
        read = template.parse(template.describe(known))
        assert read == template.stated(known)
        assert list(read.findings) == list(template.stated(known).findings)


def test_an_omitted_finding_is_never_said():
    silent = dataclasses.replace(PLAIN, omitted=("support devices",))
    text = silent.describe(KNOWN)
    assert "devices" not in text
    assert silent.parse(text) == silent.stated(KNOWN)
    assert "Support_Devices" not in silent.stated(KNOWN).findings
    unlike = dataclasses.replace(KNOWN, findings={**KNOWN.findings, "Support_Devices": False})
    assert silent.describe(unlike) == text


@pytest.mark.parametrize("template", EVERY)
def test_a_caption_is_read_by_the_wording_that_wrote_it(template):
    text = template.describe(KNOWN)
    assert templates.read(text, (template,)) == (template, template.stated(KNOWN))
    assert templates.read(text, EVERY)[1] == template.stated(KNOWN)


@pytest.mark.parametrize("text", ["", "Chest CT of a man", "Chest X-ray showing", "Chest X-ray of a 80-year-old man"])
def test_a_caption_that_none_of_them_writes_is_refused(text):
    with pytest.raises(ValueError, match=r"is not understood: .*; for example"):
        templates.read(text, EVERY)
    with pytest.raises(ValueError, match=r"is not one of|is not understood"):
        templates.read(text, (PRISM,))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"text": "Chest X-ray"}, "must have slots"),
        ({"text": "X-ray[ of {patient}]"}, "must have slots"),
        ({"text": "X-ray[ of {age}][ and {age}]"}, "each once"),
        ({"text": "X-ray[ of {age} {sex}]"}, "exactly one slot"),
        ({"text": "X-ray of {sex} subject"}, "needs brackets around sex"),
        ({"text": "X-ray of {person}", "absent": "not"}, "'not' must have {} once"),
    ],
)
def test_a_template_that_cannot_be_read_back_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Template(**options)


def caption(one: schema.Example, config: CaptionConfig, words: int = 99, turn: int = 0) -> str:
    return templates.caption(one, turn, config=config, fits=short(words))


def short(words: int):
    return lambda text: len(text.split()) <= words


def test_captions_are_drawn_for_the_example_and_the_turn_alone():
    config = CaptionConfig(templates=PARAPHRASES)
    drawn = [caption(example(i), config, 99) for i in range(200)]
    assert drawn == [caption(example(i), config, 99) for i in range(200)]
    assert {text: drawn.count(text) > 25 for text in drawn} == {t.describe(KNOWN): True for t in PARAPHRASES}
    again = [caption(example(i), config, turn=1) for i in range(200)]
    assert 80 < sum(a != b for a, b in zip(drawn, again, strict=True)) < 200
    other = dataclasses.replace(config, seed=1)
    assert drawn != [caption(example(i), other, 99) for i in range(200)]


def test_reports_replace_a_fraction_of_the_captions_and_are_cut_at_a_sentence():
    config = CaptionConfig(report_fraction=0.5)
    drawn = [caption(example(i, "Clear lungs. No effusion at all."), config, 12) for i in range(400)]
    assert drawn.count("Clear lungs. No effusion at all.") == pytest.approx(200, abs=40)
    assert caption(example(1, "Clear lungs. " + "X " * 9), CaptionConfig(report_fraction=1.0), 9) == ("Clear lungs.")
    assert caption(example(), CaptionConfig(report_fraction=1.0), 99) == PLAIN.describe(KNOWN)


def test_a_long_caption_loses_what_is_absent_or_uncertain_before_what_is_present():
    texts = [templates.fitting(KNOWN, PLAIN, short(words)) for words in (99, 15, 13, 12, 10)]
    stated = [list(PLAIN.parse(text).findings) for text in texts]
    assert stated[0] == ["cardiomegaly", "support devices", "edema", "pneumonia"]
    assert stated[1:] == [
        ["cardiomegaly", "support devices", "edema"],
        ["cardiomegaly", "support devices"],
        ["cardiomegaly"],
        [],
    ]
    with pytest.raises(ValueError, match="too long for the text encoder"):
        templates.fitting(KNOWN, PLAIN, short(3))


@pytest.mark.parametrize("options", [{"templates": ()}, {"report_fraction": 1.5}])
def test_a_caption_configuration_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        CaptionConfig(**options)
