"""Trying strengths and choosing among them."""

import dataclasses

import numpy as np
import pytest

from prism_jax.editing import Edit
from prism_jax.evaluation.counterfactuals.strength_sweep import Candidate, Sweep, Thresholds, flips_of, select

EDIT = Edit(prompt="no pacemaker", self_steps=0.5)
GOOD = {"image": 0.9, "source_text": 0.3, "text": 0.3, "direction": 0.2}


def candidate(**scores) -> Candidate:
    return Candidate(edit=EDIT, is_finite=True, scores=GOOD | scores)


def test_a_sweep_makes_every_combination_and_keeps_what_it_does_not_vary():
    sweep = Sweep(clip="clip", self_steps=(0.2, 0.4), guidance=(2.0, 3.0, 4.0))
    made = sweep.candidates(EDIT)
    assert [(e.self_steps, e.guidance) for e in made] == [(s, g) for s in (0.2, 0.4) for g in (2.0, 3.0, 4.0)]
    assert sweep.count == len(made)
    assert {e.prompt for e in made} == {"no pacemaker"}
    alone = Sweep(clip="clip")
    assert alone.candidates(EDIT) == [EDIT]
    assert alone.count == 1


def test_the_best_that_passes_is_kept_and_all_are_told():
    best, found = select([candidate(), candidate(direction=0.8, image=0.5), candidate(direction=0.5)], Thresholds())
    assert best == 2
    assert [c.refusals for c in found] == [(), ("image 0.5 < 0.6",), ()]
    record = found[1].record(guidance=7.5)
    assert record["guidance"] == 7.5
    assert record["scores"]["direction"] == 0.8
    assert record["refusals"] == ["image 0.5 < 0.6"]
    assert dataclasses.replace(found[0], edit=dataclasses.replace(EDIT, guidance=2.0)).record(7.5)["guidance"] == 2.0


@pytest.mark.parametrize(
    ("directions", "best"), [([0.1, 0.3, 0.2], 1), ([0.3, 0.1], 0), ([-0.4, -0.2], 1), ([0.4, 0.4], 0)]
)
def test_the_highest_direction_is_chosen_wherever_it_stands_and_of_equal_ones_the_first(directions, best):
    chosen, judged = select([candidate(direction=direction) for direction in directions], Thresholds())
    assert chosen == best
    assert not any(each.refusals for each in judged)


def test_where_nothing_passes_nothing_is_chosen_and_all_reasons_are_given():
    worst = candidate(image=0.5, source_text=0.0999, text=-0.02, direction=-0.6)
    best, found = select([worst, candidate(image=0.5, direction=0.5)], Thresholds())
    assert best is None
    first = ("image 0.5 < 0.6", "source_text 0.0999 < 0.1", "text -0.02 < 0.1", "direction -0.6 < -0.5")
    assert [each.refusals for each in found] == [first, ("image 0.5 < 0.6",)]


def test_a_score_equal_to_its_limit_passes():
    assert select([candidate(direction=-0.5, image=0.6, text=0.1, source_text=0.1)], Thresholds())[0] == 0


@pytest.mark.parametrize("name", ["image", "source_text", "text", "direction"])
def test_nan_is_refused_with_its_name(name):
    limit = {"image": "0.6", "direction": "-0.5"}.get(name, "0.1")
    best, found = select([candidate(), candidate(**{name: float("nan")})], Thresholds())
    assert best == 0
    assert found[1].refusals == (f"{name} is NaN, limit {limit}",)


def test_thresholds_are_options():
    thresholds = Thresholds(image=0.95, text=0.0, direction=0.2)
    best, found = select([candidate(image=0.96, text=0.05, direction=0.1), candidate(image=0.94)], thresholds)
    assert best is None
    assert [each.refusals for each in found] == [("direction 0.1 < 0.2",), ("image 0.94 < 0.95",)]


def test_candidates_that_are_not_finite_never_win():
    broken = dataclasses.replace(candidate(direction=0.9), is_finite=False)
    best, found = select([broken, candidate()], Thresholds())
    assert best == 1
    assert any("NaN" in reason for reason in found[0].refusals)


def test_without_scores_the_only_candidate_is_taken_unless_it_is_not_finite():
    alone = Candidate(edit=EDIT, is_finite=True)
    assert select([alone], Thresholds()) == (0, [alone])
    best, found = select([dataclasses.replace(alone, is_finite=False)], Thresholds())
    assert best is None
    assert found[0].refusals == ("the edit is not finite; use float32",)


def test_a_candidate_that_does_not_flip_the_classifier_is_refused():
    stays = dataclasses.replace(candidate(direction=0.9), flips=False)
    best, found = select([stays, dataclasses.replace(candidate(), flips=True)], Thresholds())
    assert best == 1
    assert found[0].refusals == ("classifier does not find the wanted label",)
    assert found[0].record(7.5)["flips"] is False


def test_an_edit_flips_where_all_that_it_asks_for_is_found():
    targets = ("support_lines", "sex", "view")
    probabilities = np.array([[0.9, 0.2, 0.7], [0.4, 0.2, 0.7], [0.9, 0.8, 0.1]])
    asked = {"support lines": True, "sex": "F", "age": 40.0}
    np.testing.assert_array_equal(flips_of(asked, targets, probabilities), [True, False, False])
    np.testing.assert_array_equal(flips_of({"view": "PA"}, targets, probabilities), [False, False, True])
    assert flips_of({"age": 40.0}, targets, probabilities).all()
    with pytest.raises(ValueError, match="does not know edema; it knows support_lines, sex, view"):
        flips_of({"edema": False}, targets, probabilities)
