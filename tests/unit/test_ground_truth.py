"""The true counterfactuals of phantom subjects."""

import numpy as np
import pytest

from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.sources.phantom import PhantomConfig, attributes_of
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation.edits import EditSpec

CONFIG = PhantomConfig(preset="strong", size=32, test=40)


@pytest.fixture(scope="module")
def rows():
    """Rows of a manifest, of subjects with cardiomegaly."""
    values = {"age": 60.0, "sex": 1, "view": 0, "cardiomegaly": 1, "effusion": 0, "pacemaker": 1, "support_lines": 0}
    prompt = PLAIN.describe(attributes_of(values))
    return [{"number": 20_000_000 + i, "source_prompt": prompt, "original": "o", "autoencoded": "a"} for i in range(40)]


def test_taking_cardiomegaly_away_takes_pacemakers_along_by_the_causal_model_alone(rows):
    change = EditSpec(edit="remove cardiomegaly")
    graph, surgical = (ground_truth.true_effects(rows, change, CONFIG, mode=mode) for mode in ("graph", "surgical"))
    had_it = graph["cardiomegaly"] == -1
    assert 0 < had_it.sum() < 40  # subjects without it have nothing to lose
    assert graph["pacemaker"][had_it].mean() < -0.5
    np.testing.assert_array_equal(graph["pacemaker"][~had_it], 0)
    for name in ("pacemaker", "age", "sex", "effusion", "view"):
        np.testing.assert_array_equal(surgical[name], 0)
    assert (surgical["cardiothoracic_ratio"][had_it] < -0.05).all()
    np.testing.assert_array_equal(graph["age"], 0)  # causes do not follow their effects


def test_a_year_more_is_a_year_more_for_everybody(rows):
    effects = [ground_truth.true_effects(rows, EditSpec(edit=f"set age {age}"), CONFIG)["age"] for age in (30, 50)]
    np.testing.assert_allclose(effects[1] - effects[0], 20.0, rtol=1e-5)
    assert np.ptp(effects[0]) > 10  # their own ages differ
