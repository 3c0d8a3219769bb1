import numpy as np
import pytest

from prism_jax.metrics.axioms import in_bins
from prism_jax.metrics.interventions import BINS, draw, draw_random

TRAINING = {"age": np.random.default_rng(0).uniform(20, 90, 500), "effusion": np.arange(500) % 5 == 0}
FACTUAL = {"age": np.full(2000, 50.0), "effusion": np.arange(2000) % 2 == 0}


def test_values_are_drawn_from_the_training_marginal():
    found = draw(FACTUAL, TRAINING, ["effusion", "age"], rng=np.random.default_rng(1))
    np.testing.assert_allclose(found["effusion"].mean(), 0.2, atol=0.03)
    assert set(found["age"]) <= set(TRAINING["age"])


def test_values_that_have_to_differ_do():
    found = draw(FACTUAL, TRAINING, ["effusion", "age"], rng=np.random.default_rng(1), is_different=True)
    np.testing.assert_array_equal(found["effusion"], ~FACTUAL["effusion"])
    bins = [in_bins(values, TRAINING["age"], bins=BINS) for values in (found["age"], FACTUAL["age"])]
    assert not np.any(bins[0] == bins[1])


def test_every_random_intervention_has_an_attribute_and_each_as_often():
    values, chosen = draw_random(FACTUAL, TRAINING, rng=np.random.default_rng(1), is_different=True)
    assert np.all(chosen["age"] | chosen["effusion"])
    np.testing.assert_allclose(chosen["age"].mean(), 2 / 3, atol=0.04)  # of the three that are not empty
    np.testing.assert_array_equal(values["age"] != FACTUAL["age"], chosen["age"])


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match=r"cannot intervene on \['race'\]"):
        draw(FACTUAL, TRAINING, ["race"], rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="no other effusion"):
        draw(
            {"effusion": np.array([True])},
            {"effusion": np.array([True])},
            ["effusion"],
            rng=np.random.default_rng(0),
            is_different=True,
        )
