"""The true counterfactuals of phantom subjects."""

import numpy as np
import pytest

from prism_jax.data import phantom
from prism_jax.data.sources.phantom import PhantomConfig
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation.edits import REPEAT, EditSpec

CONFIG = PhantomConfig(preset="strong", size=32, test=40)
NUMBERS = 20_000_000 + np.arange(40)


@pytest.fixture(scope="module")
def factual():
    return ground_truth.true_counterfactuals(NUMBERS, EditSpec(edit=REPEAT), CONFIG)


def effects(factual, edit, mode):
    """Change of every attribute, float64 [n] by name."""
    after = ground_truth.true_counterfactuals(NUMBERS, EditSpec(edit=edit), CONFIG, mode)
    before, after = factual.attributes | factual.truth, after.attributes | after.truth
    return {name: np.asarray(after[name], np.float64) - before[name] for name in before}


def test_a_negative_control_leaves_the_subjects_as_they_are(factual):
    equations = phantom.Equations.preset(CONFIG.preset)
    np.testing.assert_array_equal(factual.images, phantom.generate(NUMBERS, size=32, equations=equations).images)
    assert not ground_truth.change_mask(NUMBERS, EditSpec(edit=REPEAT), CONFIG).any()


def test_taking_cardiomegaly_away_takes_pacemakers_along_by_the_causal_model_alone(factual):
    graph, surgical = (effects(factual, "remove cardiomegaly", mode) for mode in ("graph", "surgical"))
    had_it = graph["cardiomegaly"] == -1
    assert 0 < had_it.sum() < 40  # subjects without it have nothing to lose
    assert graph["pacemaker"][had_it].mean() < -0.5
    np.testing.assert_array_equal(graph["pacemaker"][~had_it], 0)
    for name in ("pacemaker", "age", "sex", "effusion", "view"):
        np.testing.assert_array_equal(surgical[name], 0)
    assert (surgical["cardiothoracic_ratio"][had_it] < -0.05).all()
    np.testing.assert_array_equal(graph["age"], 0)  # causes do not follow their effects


def test_a_year_more_is_a_year_more_for_everybody(factual):
    ages = [effects(factual, f"set age {age}", "graph")["age"] for age in (30, 50)]
    np.testing.assert_allclose(ages[1] - ages[0], 20.0, rtol=1e-5)
    assert np.ptp(ages[0]) > 10  # their own ages differ


@pytest.mark.parametrize("edit", ["add mass", "set race Asian", "drop pacemaker", "set age 95"])
def test_what_phantoms_do_not_have_is_refused(edit):
    with pytest.raises(ValueError, match=r"the phantom cannot have|cannot set age to 95"):
        ground_truth.check([EditSpec(edit=edit)], CONFIG)
    ground_truth.check([EditSpec(edit=edit)], None)
