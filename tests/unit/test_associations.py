"""Correlations, odds ratios and fractions: textbook values, and intervals compared with simulations."""

import numpy as np
import pytest
from scipy import stats

from prism_jax.stats import associations
from prism_jax.stats.intervals import BootstrapConfig, bootstrap

RUNS = 400
# 95 % of RUNS, less and more three standard errors.
COVERED = pytest.approx(0.95, abs=3 * (0.05 * 0.95 / RUNS) ** 0.5)


def drawn(rng, patients: int, most: int, link: float, rates=(0.4, 0.3)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, y, patient): yes/no columns of 1 to `most` images a patient, alike within a patient; `link` ties y to x."""
    owner = np.repeat(np.arange(patients), rng.integers(1, most + 1, patients))
    latent = np.sqrt(0.6) * rng.normal(size=(2, patients))[:, owner] + np.sqrt(0.4) * rng.normal(size=(2, len(owner)))
    x = latent[0] < stats.norm.ppf(rates[0])
    y = latent[1] < stats.norm.ppf(rates[1]) + link * x
    return x.astype(float), y.astype(float), owner


@pytest.fixture(scope="module", params=[(120, 1, 0.0), (120, 4, 0.0), (120, 4, 0.9)], ids=str)
def simulated(request) -> dict[str, float]:
    """Shares of RUNS simulations in which an interval holds the truth, and in which p is below 0.05."""
    rng = np.random.default_rng(7)
    x, y, owner = drawn(rng, 200_000, *request.param[1:])
    truth = np.corrcoef(x, y)[0, 1], associations.odds_ratio(x, y, owner).value, y.mean()
    hits = []
    for _ in range(RUNS):
        x, y, owner = drawn(rng, *request.param)
        found = associations.correlation(x, y, owner)
        estimates = (
            found.estimate,
            associations.odds_ratio(x, y, owner),
            associations.clustered_proportion(y == 1, owner),
        )
        hits.append([e.low <= true <= e.high for e, true in zip(estimates, truth, strict=True)] + [found.p < 0.05])
    names = ("correlation", "odds_ratio", "share", "called")
    return {"link": request.param[2]} | dict(zip(names, np.mean(hits, axis=0), strict=True))


def test_intervals_hold_the_truth_as_often_as_they_say(simulated):
    assert simulated["correlation"] == COVERED
    assert simulated["odds_ratio"] == COVERED
    assert simulated["share"] == COVERED


def test_no_link_is_called_one_no_more_often_than_stated_and_a_link_mostly_is(simulated):
    if simulated["link"]:
        assert simulated["called"] > 0.9
    else:
        assert simulated["called"] <= 0.05 + 3 * (0.05 * 0.95 / RUNS) ** 0.5


def test_images_of_one_patient_do_not_count_as_many():
    x, y, owner = drawn(np.random.default_rng(1), 60, 1, 0.5)
    many = [np.repeat(column, 20) for column in (x, y, owner)]
    once, often = associations.correlation(x, y, owner), associations.correlation(*many)
    assert (often.estimate.low, often.estimate.high) == pytest.approx((once.estimate.low, once.estimate.high), abs=0.02)
    share, shares = (
        associations.clustered_proportion(y == 1, owner),
        associations.clustered_proportion(many[1] == 1, many[2]),
    )
    assert (shares.low, shares.high, shares.count) == pytest.approx((share.low, share.high, 60), abs=0.02)


def test_rare_attributes_that_never_meet_are_not_called_linked():
    x, y = np.zeros((2, 1000))
    x[:20], y[20:40] = 1, 1
    found = associations.correlation(x, y, np.arange(1000))
    assert found.p > 0.3
    assert found.estimate.low < 0 < found.estimate.high


def test_the_interval_agrees_with_the_bootstrap_over_patients():
    x, y, owner = drawn(np.random.default_rng(3), 300, 4, 0.7)
    ours = associations.correlation(x, y, owner).estimate
    resampled = bootstrap(
        lambda a, b: np.corrcoef(a, b)[0, 1], x, y, subjects=owner, config=BootstrapConfig(resamples=800)
    )
    assert ours.value == pytest.approx(resampled.value)
    assert (ours.low, ours.high) == pytest.approx((resampled.low, resampled.high), abs=0.02)
    assert ours.count == resampled.count == 300


def test_with_one_image_a_patient_the_odds_ratio_has_woolfs_interval():
    cells = np.array([40, 10, 20, 30])  # neither, y only, x only, both
    x, y = np.repeat([0, 0, 1, 1], cells), np.repeat([0, 1, 0, 1], cells)
    found = associations.odds_ratio(x, y, np.arange(100))
    half = stats.t.ppf(0.975, 99) * np.sqrt((1 / cells).sum() * 100 / 99)
    assert found.value == pytest.approx(6.0)
    assert np.log([found.low, found.high]) == pytest.approx([np.log(6) - half, np.log(6) + half])
    assert associations.odds_ratio(y, x, np.arange(100)) == found


def test_an_empty_cell_leaves_the_odds_ratio_finite():
    x, y = np.repeat([0, 0, 1], [30, 5, 5]), np.repeat([0, 1, 0], [30, 5, 5])
    found = associations.odds_ratio(x, y, np.arange(40))
    assert 0 < found.low < found.value < 1 < found.high < np.inf


def test_partial_correlation_is_that_of_the_residuals_and_clears_a_common_cause():
    rng = np.random.default_rng(0)
    cause = rng.normal(size=(4000, 1))
    x, y = cause[:, 0] + rng.normal(size=4000), cause[:, 0] + rng.normal(size=4000)
    plain = associations.correlation(x, y, np.arange(4000))
    adjusted = associations.correlation(x, y, np.arange(4000), cause)
    assert plain.estimate.value == pytest.approx(0.5, abs=0.05)
    assert adjusted.estimate.low < 0 < adjusted.estimate.high
    r = np.linalg.inv(np.corrcoef([x, y, cause[:, 0]]))  # the textbook's way: from the inverse
    assert adjusted.estimate.value == pytest.approx(-r[0, 1] / np.sqrt(r[0, 0] * r[1, 1]))


def test_correlation_does_not_depend_on_scale_order_or_the_names_of_patients():
    rng = np.random.default_rng(5)
    x, y, owner = drawn(rng, 50, 3, 0.5)
    one = associations.correlation(x, y, owner)
    order = rng.permutation(len(x))
    other = associations.correlation(60 - 3 * x[order], y[order], 1000 - 7 * owner[order])
    assert (-other.estimate.value, -other.estimate.low, -other.estimate.high, other.p) == pytest.approx(
        (one.estimate.value, one.estimate.high, one.estimate.low, one.p)
    )


@pytest.mark.parametrize(
    ("x", "covariates"), [(np.ones(30), None), (np.arange(30.0), 2 * np.arange(30.0)[:, None])], ids=["same", "follows"]
)
def test_what_does_not_vary_of_itself_has_no_correlation(x, covariates):
    found = associations.correlation(x, np.tile([0, 1, 1], 10), np.arange(30), covariates)
    assert np.isnan([found.estimate.value, found.p]).all()
    assert found.estimate.count == 0


def test_what_goes_together_always_has_correlation_one():
    x = np.tile([0.0, 1.0], 20)
    assert associations.correlation(x, x, np.arange(40)).estimate.value == pytest.approx(1)
    assert associations.correlation(x, -x, np.arange(40)).p == 0


def test_a_share_of_all_or_none_is_worth_its_patients():
    none = associations.clustered_proportion(np.zeros(90, bool), np.repeat(np.arange(9), 10))
    assert (none.value, none.low, none.count) == (0, 0, 9)
    assert none.high == pytest.approx(0.299, abs=1e-3)  # Wilson's for 0 of 9
    assert np.isnan(associations.clustered_proportion(np.zeros(0, bool), np.zeros(0, int)).value)


def test_holm_multiplies_the_smallest_by_all_and_leaves_what_is_unknown_out():
    adjusted = associations.holm(np.array([0.03, np.nan, 0.01, 0.04, 0.9]))
    np.testing.assert_allclose(adjusted, [0.09, np.nan, 0.04, 0.09, 0.9])


def test_among_many_true_nulls_a_false_link_is_as_rare_as_stated():
    rng = np.random.default_rng(2)
    worst = [associations.holm(rng.uniform(size=40)).min() for _ in range(2000)]
    assert np.mean(np.array(worst) <= 0.05) == pytest.approx(0.05, abs=0.015)
