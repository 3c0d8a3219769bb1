"""The clustered bootstrap against scipy's, and laws of intervals that draw patients whole."""

import numpy as np
import pytest
from scipy import stats

from prism_jax.stats.cluster_bootstrap import effective_sample_size, resample
from prism_jax.stats.intervals import BootstrapConfig

CONFIG = BootstrapConfig(resamples=10_000)


def mean(sums):
    """Of sums [..., 2 c]: values, then how many."""
    values, counts = np.split(sums, 2, axis=-1)
    return values / counts


@pytest.fixture(scope="module")
def skewed() -> np.ndarray:
    return np.random.default_rng(3).exponential(size=25)


def test_without_expansion_it_is_the_bca_interval_of_scipy(skewed):
    parts = np.stack([skewed, np.ones(25)], axis=1)
    low, high = resample(mean, parts, config=CONFIG).bca(0.95, is_expanded=False)
    theirs = stats.bootstrap((skewed,), np.mean, n_resamples=10_000, rng=np.random.default_rng(1), method="BCa")
    assert (low[0], high[0]) == pytest.approx(tuple(theirs.confidence_interval), abs=0.03)


def test_the_error_is_that_of_a_mean_and_student_gives_the_t_interval(skewed):
    found = resample(mean, np.stack([skewed, np.ones(25)], axis=1), config=BootstrapConfig(resamples=100))
    theirs = stats.ttest_1samp(skewed, 0)
    assert found.standard_error[0] == pytest.approx(stats.sem(skewed))
    assert np.ravel(found.student(0.9)) == pytest.approx(tuple(theirs.confidence_interval(0.9)))
    assert found.p()[0] == pytest.approx(theirs.pvalue)


def test_the_interval_holds_both_of_its_parts_and_is_wider_at_a_higher_level(skewed):
    found = resample(mean, np.stack([skewed, np.ones(25)], axis=1), config=CONFIG)
    low, high = found.interval(0.95)
    assert low <= min(found.bca(0.95)[0], found.student(0.95)[0])
    assert high >= max(found.bca(0.95)[1], found.student(0.95)[1])
    assert found.interval(0.9)[0] > low
    assert found.interval(0.9)[1] < high


def test_copies_of_a_patients_images_change_nothing(skewed):
    once = resample(mean, np.stack([skewed, np.ones(25)], axis=1), weights=np.ones((25, 1)))
    often = resample(mean, 7 * np.stack([skewed, np.ones(25)], axis=1), weights=7 * np.ones((25, 1)))
    assert np.ravel(often.interval(0.95)) == pytest.approx(np.ravel(once.interval(0.95)))


def test_two_samples_are_drawn_apart_and_give_welch_s_degrees_of_freedom(skewed):
    other = np.random.default_rng(4).normal(size=12)
    parts = np.zeros((37, 4))
    parts[:25, :2] = np.stack([skewed, np.ones(25)], axis=1)
    parts[25:, 2:] = np.stack([other, np.ones(12)], axis=1)
    gap = lambda sums: sums[..., :1] / sums[..., 1:2] - sums[..., 2:3] / sums[..., 3:]
    found = resample(gap, parts, strata=np.repeat([0, 1], [25, 12]))
    theirs = stats.ttest_ind(skewed, other, equal_var=False)
    assert found.dof[0] == pytest.approx(theirs.df)
    assert found.p()[0] == pytest.approx(theirs.pvalue)


def test_worth_is_the_number_of_equal_patients_and_less_where_one_has_most_images():
    assert effective_sample_size(np.full((8, 1), 5.0)) == pytest.approx(8)
    assert effective_sample_size(np.array([[40.0], [1], [1], [1]])) == pytest.approx(43**2 / 1603)


def test_a_ratio_that_divides_by_nothing_has_no_interval():
    parts = np.stack([np.ones(12), np.eye(12)[0]], axis=1)  # one patient alone carries the denominator
    found = resample(mean, parts)
    assert np.isnan(found.interval(0.95)).all()


def test_nobody_cannot_be_resampled():
    with pytest.raises(ValueError, match="0 patients cannot be resampled"):
        resample(mean, np.empty((0, 2)))
