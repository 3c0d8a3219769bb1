"""Changes of attributes as edits, and the choice of subjects."""

import pytest

from eval.changes import Change, choose
from prism_jax.data import captions, schema


def example(number, **findings):
    attributes = schema.Attributes(age=63.0, sex="M", view="AP", findings=findings)
    return schema.Example(
        id=number, image=b"", height=8, width=8, patient=str(number), path="", subject=-1, attributes=attributes
    )


def test_a_change_applies_only_where_the_attribute_is_known_and_different():
    remove = Change(attribute="pacemaker", value=False)
    assert remove.applies(example(0, pacemaker=True).attributes)
    assert not remove.applies(example(0, pacemaker=False).attributes)
    assert not remove.applies(example(0).attributes)  # nobody mentioned it
    assert Change(attribute="age", value=40.0).applies(example(0).attributes)
    assert not Change(attribute="view", value="AP").applies(example(0).attributes)


def test_the_edit_changes_the_caption_in_its_slot_and_blends_on_the_finding():
    attributes = example(0, effusion=False, support_lines=True).attributes
    edit = Change(attribute="support_lines", value=False, blend=0.4, weight=2.0).edit(attributes)
    assert edit.prompt == "Chest X-ray of a 63-year-old man, AP view, with no effusion, no support lines"
    assert edit.blend.words == edit.blend.edit_words == ("support lines",)
    assert edit.blend.threshold == 0.4
    assert edit.reweight == {"no": 2.0} or edit.reweight == {"support lines": 2.0}


def test_an_edit_of_age_blends_on_the_words_that_differ():
    edit = Change(attribute="age", value=40.0).edit(example(0).attributes)
    assert "40-year-old" in edit.prompt
    assert edit.blend.words == ("63-year-old",)
    assert edit.blend.edit_words == ("40-year-old",)


def test_names_say_what_is_done():
    assert Change(attribute="support_lines", value=True).name == "add support lines"
    assert Change(attribute="pacemaker", value=False).name == "remove pacemaker"
    assert Change(attribute="age", value=40.0).name == "set age to 40"
    assert Change(attribute="view", value="PA").name == "set view to PA"


def test_the_first_subjects_are_chosen_for_each_change():
    examples = [example(i, pacemaker=i % 2 == 0, effusion=i > 3) for i in range(8)]
    changes = [Change(attribute="pacemaker", value=False), Change(attribute="effusion", value=False)]
    chosen = choose(examples, changes, 2)
    assert {subject.example.id: subject.changes for subject in chosen} == {0: (0,), 2: (0,), 4: (1,), 5: (1,)}


def test_a_change_that_fits_nobody_is_refused():
    with pytest.raises(ValueError, match="remove pacemaker"):
        choose([example(0, pacemaker=False)], [Change(attribute="pacemaker", value=False)], 1)


def test_the_caption_of_the_source_is_the_prompt_that_is_inverted():
    attributes = example(0, pacemaker=True).attributes
    edit = Change(attribute="pacemaker", value=False).edit(attributes)
    assert edit.prompt.replace("no pacemaker", "pacemaker") == captions.describe(attributes)
