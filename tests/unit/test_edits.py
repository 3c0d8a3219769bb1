"""Changes of attributes as edits."""

import dataclasses

import pytest

from prism_jax import config as configs
from prism_jax.data import schema
from prism_jax.data.captions.templates import PLAIN
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun
from prism_jax.evaluation.edits import EditSpec
from prism_jax.model_card import EditDefaults


def example(number, **findings):
    attributes = schema.Attributes(age=63.0, sex="M", view="AP", findings=findings)
    return schema.Example(
        id=number, image=b"", height=8, width=8, patient=str(number), path="", subject=-1, attributes=attributes
    )


def test_a_change_applies_only_where_the_attribute_is_known_and_different():
    remove = EditSpec(edit="remove pacemaker")
    assert remove.applies(example(0, pacemaker=True).attributes)
    assert not remove.applies(example(0, pacemaker=False).attributes)
    assert not remove.applies(example(0).attributes)  # nobody mentioned it
    assert not remove.applies(example(0, pacemaker=None).attributes)  # somebody was not sure
    assert EditSpec(edit="set age 40").applies(example(0).attributes)
    assert not EditSpec(edit="set view AP").applies(example(0).attributes)


def test_a_change_of_several_applies_where_all_of_them_do():
    both = EditSpec(edit="remove pacemaker, set age 40")
    attributes = example(0, pacemaker=True).attributes
    assert both.applies(attributes)
    assert not both.applies(dataclasses.replace(attributes, age=40.9))  # captions state completed years
    assert not both.applies(dataclasses.replace(attributes, age=None))
    assert not both.applies(example(0, pacemaker=False).attributes)
    assert both.values(attributes) == {"pacemaker": False, "age": 40.0}
    assert (both.is_removal, EditSpec(edit="remove pacemaker and effusion").is_removal) == (False, True)


def test_the_same_words_fit_data_sets_that_name_a_finding_differently():
    edit = EditSpec(edit="remove enlarged heart")
    for name in ("cardiomegaly", "Cardiomegaly", "enlarged_heart"):
        assert edit.values(example(0, **{name: True}).attributes) == {name: False}


def test_words_that_are_not_understood_are_refused_when_the_change_is_made():
    with pytest.raises(ValueError, match="no instruction in 'pacemaker'"):
        EditSpec(edit="pacemaker")


def test_a_change_survives_json(tmp_path):
    change = EditSpec(edit="remove pacemaker, set age 40", blend=None)
    configs.write(CounterfactualRun(edits=(change,)), tmp_path)
    assert configs.read(tmp_path).edits == (change,)


def test_strengths_left_open_are_those_of_the_model_card_and_stated_ones_stay():
    card = EditDefaults(cross_steps=0.4, self_steps=0.3, blend=0.2, guidance=2.0)
    spec = EditSpec(edit="remove pacemaker", cross_steps=0.9, blend=0.0).with_defaults(card)
    assert (spec.cross_steps, spec.self_steps, spec.weight, spec.blend) == (0.9, 0.3, 1.0, 0.0)
    assert spec.guidance is None  # that of the inversion
    edit = spec.edit_of(example(0, pacemaker=True).attributes)
    assert (edit.cross_steps, edit.self_steps, edit.blend) == (0.9, 0.3, None)
    assert EditSpec(edit="remove pacemaker").with_defaults(card).edit_of(example(0, pacemaker=True).attributes).blend


def test_the_edit_changes_the_caption_in_its_slot_and_blends_on_the_finding():
    attributes = example(0, effusion=False, support_lines=True).attributes
    edit = EditSpec(edit="remove support lines", blend=0.4, weight=2.0).edit_of(attributes)
    assert edit.prompt == "Chest X-ray of a 63-year-old man, AP view, with no effusion, no support lines"
    assert edit.blend.words == edit.blend.edit_words == ("support lines",)
    assert edit.blend.threshold == 0.4
    assert edit.reweight == {"no support lines": 2.0}


def test_an_edit_of_age_blends_on_the_words_that_differ():
    edit = EditSpec(edit="set age 40", blend=0.3).edit_of(example(0).attributes)
    assert "40-year-old" in edit.prompt
    assert edit.reweight is None
    assert edit.blend.words == ("63-year-old",)
    assert edit.blend.edit_words == ("40-year-old",)


def test_names_say_what_is_done():
    assert EditSpec(edit="add support_lines").name == "add support lines"
    assert EditSpec(edit="remove pacemaker").name == "remove pacemaker"
    assert EditSpec(edit="set age 40").name == "set age to 40"
    assert EditSpec(edit="set view=PA").name == "set view to PA"
    assert EditSpec(edit="without pacemaker and set age 40").name == "remove pacemaker, set age to 40"


def test_the_caption_of_the_source_is_the_prompt_that_is_inverted():
    attributes = example(0, pacemaker=True).attributes
    edit = EditSpec(edit="remove pacemaker").edit_of(attributes)
    assert edit.prompt.replace("no pacemaker", "pacemaker") == PLAIN.describe(attributes)


PLACEBOS = ("repeat the caption", "say enlarged heart", "say blorkery")


def test_a_placebo_says_the_same_in_other_words_or_words_that_mean_nothing():
    attributes = example(0, cardiomegaly=True, effusion=False).attributes
    start = "Chest X-ray of a 63-year-old man, AP view, with"
    said = [EditSpec(edit=edit).prompt(attributes) for edit in PLACEBOS]
    assert said[0] == PLAIN.describe(attributes)
    assert said[1] == f"{start} enlarged heart, no effusion"
    assert said[2] == f"{start} cardiomegaly, no effusion, blorkery"
    absent = example(0, cardiomegaly=False).attributes
    assert EditSpec(edit="say enlarged heart").prompt(absent) == f"{start} no enlarged heart"


def test_a_placebo_changes_no_attribute_and_applies_unless_its_words_are_there_already():
    attributes = example(0, cardiomegaly=True).attributes
    for edit in PLACEBOS:
        placebo = EditSpec(edit=edit)
        assert placebo.is_negative_control
        assert not placebo.is_removal
        assert placebo.values(attributes) == {}
        assert placebo.applies(attributes)
    assert not EditSpec(edit="say cardiomegaly").applies(attributes)
    assert not EditSpec(edit="remove cardiomegaly").is_negative_control


def test_repeating_the_caption_is_an_edit_without_words_that_differ():
    attributes = example(0, cardiomegaly=True).attributes
    edit = EditSpec(edit="repeat the caption", blend=0.3, weight=2.0, guidance=3.0).edit_of(attributes)
    assert edit.prompt == PLAIN.describe(attributes)
    assert (edit.blend, edit.reweight, edit.guidance) == (None, None, 3.0)


def test_strengths_of_one_edit_have_names_of_their_own():
    weak, strong = (EditSpec(edit="remove pacemaker", strength=name, guidance=g) for name, g in (("weak", 2), ("", 4)))
    assert (weak.name, strong.name) == ("remove pacemaker (weak)", "remove pacemaker")
    assert weak.words == strong.words
    assert weak.edit_of(example(0, pacemaker=True).attributes).guidance == 2


def test_a_finding_that_a_wording_omits_is_said_where_it_is_changed():
    unsaid = dataclasses.replace(PLAIN, omitted=("pacemaker",))
    attributes = example(0, cardiomegaly=True, pacemaker=True).attributes
    start = "Chest X-ray of a 63-year-old man, AP view, with"
    assert unsaid.describe(attributes) == f"{start} cardiomegaly"
    assert EditSpec(edit="remove cardiomegaly").prompt(attributes, unsaid) == f"{start} no cardiomegaly"
    assert EditSpec(edit="remove pacemaker").prompt(attributes, unsaid) == f"{start} cardiomegaly, no pacemaker"
    assert unsaid.parse(f"{start} cardiomegaly").findings == {"cardiomegaly": True}
