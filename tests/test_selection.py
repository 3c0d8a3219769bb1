"""Trying strengths and choosing among them."""

import dataclasses

from eval.selection import Candidate, Sweep, judged
from prism_jax.editing import Edit
from prism_jax.metrics.choice import Thresholds

EDIT = Edit(prompt="no pacemaker", self_steps=0.5)
GOOD = {"image": 0.9, "text": 0.3, "direction": 0.2}


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
    best, found = judged([candidate(), candidate(direction=0.8, image=0.5), candidate(direction=0.5)], Thresholds())
    assert best == 2
    assert [c.refusals for c in found] == [(), ("image 0.5 < 0.6",), ()]
    told = found[1].told(guidance=7.5)
    assert told["guidance"] == 7.5
    assert told["scores"]["direction"] == 0.8
    assert told["refusals"] == ["image 0.5 < 0.6"]
    assert dataclasses.replace(found[0], edit=dataclasses.replace(EDIT, guidance=2.0)).told(7.5)["guidance"] == 2.0


def test_candidates_that_are_not_finite_never_win():
    broken = dataclasses.replace(candidate(direction=0.9), is_finite=False)
    best, found = judged([broken, candidate()], Thresholds())
    assert best == 1
    assert any("NaN" in reason for reason in found[0].refusals)


def test_without_scores_the_only_candidate_is_taken_unless_it_is_not_finite():
    alone = Candidate(edit=EDIT, is_finite=True)
    assert judged([alone], Thresholds()) == (0, [alone])
    best, found = judged([dataclasses.replace(alone, is_finite=False)], Thresholds())
    assert best is None
    assert found[0].refusals == ("the edit is not finite; use float32",)
