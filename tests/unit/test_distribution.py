import numpy as np
import pytest
from scipy.spatial.distance import cdist

from prism_jax.metrics.distribution import (
    DistributionConfig,
    FeatureSet,
    compare,
    compare_by_finding,
    kernel_distance,
    neighbourhoods,
)
from prism_jax.stats.intervals import BootstrapConfig

QUICK = DistributionConfig(k=3, bootstrap=BootstrapConfig(resamples=100))


def drawn(seed, shift=0.0, n=60, d=4):
    rng = np.random.default_rng(seed)
    findings = {"effusion": (np.arange(n) % 2).astype(np.float32), "other": np.full(n, np.nan, np.float32)}
    return FeatureSet.of(rng.normal(shift, 1.0, (n, d)), patients=[f"{seed}-{i}" for i in range(n)], findings=findings)


def mmd(x, y):
    """The definition, pair by pair."""
    k = lambda a, b: (a @ b / len(a) + 1) ** 3
    n, m = len(x), len(y)
    within_x = np.mean([k(x[i], x[j]) for i in range(n) for j in range(n) if i != j])
    within_y = np.mean([k(y[i], y[j]) for i in range(m) for j in range(m) if i != j])
    return within_x + within_y - 2 * np.mean([k(a, b) for a in x for b in y])


def test_kid_is_its_definition():
    real, made = drawn(0, n=15), drawn(1, 0.5, n=12)
    x, y = (side.features.astype(np.float64) for side in (real, made))
    np.testing.assert_allclose(kernel_distance(real, made, QUICK).value, mmd(x, y), rtol=1e-10)


def test_kid_agrees_with_scikit_learns_kernel():
    kernel = pytest.importorskip("sklearn.metrics.pairwise").polynomial_kernel
    real, made = drawn(0), drawn(1, 0.5)
    x, y = (side.features.astype(np.float64) for side in (real, made))
    within = [(kernel(v, degree=3, coef0=1).sum() - np.trace(kernel(v, degree=3, coef0=1))) / (60 * 59) for v in (x, y)]
    expected = sum(within) - 2 * kernel(x, y, degree=3, coef0=1).mean()
    np.testing.assert_allclose(kernel_distance(real, made, QUICK).value, expected, rtol=1e-9)


def test_kid_is_as_often_below_zero_as_above_for_one_distribution():
    values = [kernel_distance(drawn(i), drawn(1000 + i), QUICK).value for i in range(60)]
    assert 15 <= sum(value > 0 for value in values) <= 45
    assert kernel_distance(drawn(0), drawn(1, 1.0), QUICK).low > 0


def test_neighbourhoods_are_their_definitions():
    x, y = drawn(0, n=30).features.astype(float), drawn(1, 0.7, n=25).features.astype(float)
    between, k = cdist(x, y), 3
    reach, made_reach = (np.sort(cdist(v, v), axis=1)[:, k] for v in (x, y))
    found = neighbourhoods(x, y, k=k)
    np.testing.assert_array_equal(found["precision"], (between < reach[:, None]).any(0))
    np.testing.assert_array_equal(found["recall"], (between < made_reach[None]).any(1))
    np.testing.assert_allclose(found["density"], (between < reach[:, None]).sum(0) / k)
    np.testing.assert_array_equal(found["coverage"], between.min(1) < reach)


def test_images_far_from_all_real_ones_have_no_precision_and_copies_have_all():
    real, far = drawn(0), drawn(1, 50.0)
    apart, same = compare(real, far, QUICK), compare(real, real, QUICK)
    assert [apart[name].value for name in ("precision", "recall", "density", "coverage")] == [0, 0, 0, 0]
    assert [same[name].value for name in ("precision", "recall", "coverage")] == [1, 1, 1]
    assert apart["precision"].high > 0  # none of 60 is not none at all
    assert apart["fid"].value > 1000 > 1e-6 > abs(same["fid"].value)


def test_each_finding_is_compared_with_its_own_kind():
    found = compare_by_finding(drawn(0), drawn(1, 0.5), QUICK)
    assert set(found) == {"all", "effusion", "other"}
    assert (found["all"]["fid"].count, found["effusion"]["fid"].count) == (60, 30)
    assert np.isnan(found["other"]["kid"].value)  # known of no image
    assert drawn(0).having("effusion", value=False).findings["effusion"].sum() == 0


def test_features_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"do not fit \{'patients': 1\}"):
        FeatureSet.of(np.zeros((2, 3)), patients=["a"])
    with pytest.raises(ValueError, match="not finite"):
        FeatureSet.of(np.full((1, 3), np.inf), patients=["a"])
