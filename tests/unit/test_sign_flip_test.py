"""Sign flips against scipy's permutation test and a plain step-down by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats

from prism_jax.stats.sign_flip_test import SignFlipConfig, benjamini_hochberg, sign_flip_test


@pytest.fixture(scope="module")
def sums() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(9, 5)) + rng.normal(size=(9, 1)) + np.array([1.5, 0.8, 0, 0, 0])


def test_few_patients_give_the_exact_p_value_of_scipy(sums):
    for values, p in zip(sums.T, sign_flip_test(sums)[0], strict=True):
        theirs = stats.permutation_test((values,), np.sum, permutation_type="samples", n_resamples=np.inf)
        assert p == pytest.approx(theirs.pvalue)


def test_family_wise_p_values_are_those_of_a_step_down_by_hand(sums):
    signs = np.array(list(itertools.product([1, -1], repeat=9)))
    turned = np.abs(signs @ (sums / np.sqrt((sums**2).sum(0))))
    order = np.argsort(-turned[0])
    by_hand, least = np.empty(5), 0.0
    for place, cell in enumerate(order):
        highest = turned[:, order[place:]].max(axis=1)
        least = max(least, np.mean(highest >= turned[0, cell] - 1e-12))
        by_hand[cell] = least
    assert sign_flip_test(sums)[1] == pytest.approx(by_hand)
    assert (sign_flip_test(sums)[1] >= sign_flip_test(sums)[0]).all()


def test_random_signs_come_near_the_exact_p_values(sums):
    (exact, _), (drawn, _) = (
        sign_flip_test(sums, SignFlipConfig(num_permutations=1000)),
        sign_flip_test(sums, SignFlipConfig(num_permutations=200)),
    )
    assert drawn == pytest.approx(exact, abs=0.12)
    assert drawn.min() >= 1 / 201


def test_a_cell_in_which_nothing_changed_is_no_effect(sums):
    p, family_p = sign_flip_test(np.concatenate([sums, np.zeros((9, 1))], axis=1))
    assert (p[-1], family_p[-1]) == (1, 1)
    assert family_p[:-1] == pytest.approx(sign_flip_test(sums)[1])


def test_neither_scale_nor_direction_changes_a_p_value(sums):
    _, scaled = sign_flip_test(sums * np.array([-1, 2, -300, 1, 0.1]))
    assert scaled == pytest.approx(sign_flip_test(sums)[1])


def test_q_values_are_benjamini_and_hochberg_s_and_leave_out_what_is_unknown():
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.5])
    assert benjamini_hochberg(p) == pytest.approx([0.04, 0.16 / 3, np.nan, 0.16 / 3, 0.5], nan_ok=True)
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()


def test_too_few_permutations_are_refused():
    with pytest.raises(ValueError, match="num_permutations must be 100 or more, got 20"):
        SignFlipConfig(num_permutations=20)
