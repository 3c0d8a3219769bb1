"""Uncertain and unmentioned findings stay what they are, unless a policy says otherwise, finding by finding."""

import pytest

from prism_jax.data.sources import label_policy
from prism_jax.data.sources.label_policy import CHEXPERT, FINDING, NIH, LabelPolicy

BLANK = dict.fromkeys((*CHEXPERT, label_policy.NO_FINDING), "")


def test_each_value_of_a_cell_is_a_state_of_its_own():
    cells = BLANK | {"Edema": "1.0", "Fracture": "0.0", "Pneumonia": "-1.0"}
    assert label_policy.read(cells, CHEXPERT) == {"Edema": True, "Fracture": False, "Pneumonia": None}


def test_a_chest_is_normal_only_where_no_finding_says_so():
    assert label_policy.read(BLANK, CHEXPERT) == {}
    assert label_policy.read(BLANK | {"Edema": "0.0"}, CHEXPERT) == {"Edema": False}
    assert label_policy.read(BLANK | {"No Finding": "1.0"}, CHEXPERT) == {FINDING: False}
    assert label_policy.read(BLANK | {"No Finding": "0.0"}, CHEXPERT) == {}


def test_a_normal_chest_may_have_devices_but_no_other_finding():
    normal = BLANK | {"No Finding": "1.0"}
    assert label_policy.read(normal | {"Support Devices": "1.0"}, CHEXPERT) == {FINDING: False, "Support Devices": True}
    for value, state in (("1.0", True), ("-1.0", None)):
        assert label_policy.read(normal | {"Edema": value}, CHEXPERT) == {"Edema": state}


def test_a_cell_with_another_value_is_refused():
    with pytest.raises(ValueError, match=r"Edema must be 1\.0, 0\.0, -1\.0 or blank, got '2\.0'"):
        label_policy.read(BLANK | {"Edema": "2.0"}, CHEXPERT)


def test_a_list_states_what_it_names_and_no_absence():
    assert label_policy.listed(["Mass", "Effusion"], NIH) == {"Effusion": True, "Mass": True}
    assert label_policy.listed(["No Finding"], NIH) == {FINDING: False}


@pytest.mark.parametrize(
    ("names", "said"), [(["Edemma"], "unknown finding Edemma"), (["No Finding", "Mass"], "stands beside Mass")]
)
def test_a_list_that_makes_no_sense_is_refused(names, said):
    with pytest.raises(ValueError, match=said):
        label_policy.listed(names, NIH)


FOUND = {"Edema": None, "Pneumonia": None, "Fracture": False, "Cardiomegaly": True}


def test_the_default_policy_changes_nothing():
    assert label_policy.applied(FOUND, CHEXPERT, LabelPolicy()) == FOUND


def test_ones_and_zeros_of_uncertain_findings():
    ones = label_policy.applied(FOUND, CHEXPERT, LabelPolicy(uncertain="positive", uncertain_of=("pneumonia=ignore",)))
    assert ones == FOUND | {"Edema": True}
    zeros = label_policy.applied(FOUND, CHEXPERT, LabelPolicy(uncertain="negative", uncertain_of=("Edema=positive",)))
    assert zeros == FOUND | {"Edema": True, "Pneumonia": False}


def test_unmentioned_findings_become_absent_only_when_asked_and_never_make_a_normal_chest():
    policy = LabelPolicy(unmentioned="negative", unmentioned_of=("Support Devices=ignore",))
    applied = label_policy.applied(FOUND, CHEXPERT, policy)
    assert applied == dict.fromkeys(CHEXPERT[:-1], False) | FOUND
    assert list(applied) == list(CHEXPERT[:-1])  # caption order
    assert FINDING not in label_policy.applied({}, CHEXPERT, policy)


def test_a_normal_chest_may_say_that_every_finding_is_absent():
    policy = LabelPolicy(normal="negative")
    applied = label_policy.applied({FINDING: False, "Support Devices": True}, CHEXPERT, policy)
    assert applied == {FINDING: False} | dict.fromkeys(CHEXPERT[:-1], False) | {"Support Devices": True}
    assert label_policy.applied({"Edema": False}, CHEXPERT, policy) == {"Edema": False}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"uncertain": "maybe"}, "uncertain must be one of ignore, positive, negative, got 'maybe'"),
        ({"uncertain_of": ("Edema",)}, "'Edema' is no FINDING=TREATMENT"),
        ({"unmentioned_of": ("Edema=yes",)}, "'Edema=yes' is no FINDING=TREATMENT"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        LabelPolicy(**options)


def test_a_policy_for_a_finding_that_is_none_is_refused():
    with pytest.raises(ValueError, match="names 'edemma'; the findings are Enlarged"):
        LabelPolicy(uncertain_of=("Edemma=positive",)).check(CHEXPERT)
