"""One number of several trainings: its mean, its interval of subjects, and how far trainings are apart."""

import math

import numpy as np
import pytest

from prism_jax.stats.intervals import Estimate
from prism_jax.stats.seeds import mean_over_seeds, std_over_seeds


def estimate(value: float, half: float = 1.0, count: int = 8) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, count=count)


def test_one_training_stays_as_it_is():
    assert mean_over_seeds([estimate(2.0)]) == estimate(2.0)
    assert math.isnan(std_over_seeds([estimate(2.0)]))


def test_the_interval_of_subjects_does_not_shrink_with_more_trainings():
    same = mean_over_seeds([estimate(2.0)] * 10)
    assert (same.low, same.high) == (1.0, 3.0)
    assert std_over_seeds([estimate(2.0)] * 10) == 0


def test_value_and_bounds_are_means_and_the_spread_is_that_of_the_values():
    parts = [estimate(1.0, 0.5), estimate(2.0, 1.0, count=6), estimate(6.0, 3.0)]
    assert mean_over_seeds(parts) == Estimate(value=3.0, low=1.5, high=4.5, count=6)
    assert std_over_seeds(parts) == pytest.approx(np.std([1.0, 2.0, 6.0], ddof=1))


def test_a_training_without_a_value_is_left_out():
    nothing = Estimate(value=math.nan, low=math.nan, high=math.nan, count=0)
    assert mean_over_seeds([nothing, estimate(2.0)]) == estimate(2.0)
    assert mean_over_seeds([nothing, nothing]) is nothing
    with pytest.raises(ValueError, match="give one a seed"):
        mean_over_seeds([])
