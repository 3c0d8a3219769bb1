import numpy as np
import pytest
from scipy import linalg

from prism_jax.metrics.moments import Moments, frechet, frechet_distance


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 6)), rng.normal(0.2, 1.3, size=(240, 6))


def test_the_distance_is_scipys(sets):
    mean, cov = (
        [getattr(np, how)(part.T) if how == "cov" else part.mean(0) for part in sets] for how in ("mean", "cov")
    )
    root = linalg.sqrtm(cov[0] @ cov[1]).real
    expected = np.sum((mean[0] - mean[1]) ** 2) + np.trace(cov[0] + cov[1] - 2 * root)
    np.testing.assert_allclose(frechet_distance(mean[0], cov[0], mean[1], cov[1]), expected, rtol=1e-10)


def test_groups_of_patients_together_have_the_covariance_of_the_whole(sets):
    features = 1e3 + sets[0]  # far from zero, where a sum of squares would lose its digits
    whole = Moments.of(features, range(300))
    np.testing.assert_allclose(whole.gaussian()[1], np.cov(features.T), rtol=1e-10)
    assert len(whole.patients) == 300


def test_the_interval_holds_the_value_where_a_bootstrap_does_not(sets):
    real, generated = sets[0][:60], sets[0][60:120]
    rng = np.random.default_rng(1)
    value = frechet(Moments.of(real, range(60)), Moments.of(generated, range(60, 120)))
    draws = []
    for _ in range(40):
        a, b = (part[rng.integers(60, size=60)] for part in (real, generated))
        draws.append(frechet_distance(a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T)))
    assert np.mean(np.array(draws) > value.value) > 0.95  # resamples hold fewer different images
    assert value.low < value.value < value.high


def test_the_interval_is_as_wide_as_the_distance_scatters():
    rng = np.random.default_rng(2)
    values, widths = [], []
    for _ in range(40):
        a, b = rng.normal(size=(200, 2)), rng.normal(0.5, 1.0, size=(200, 2))
        found = frechet(Moments.of(a, range(200)), Moments.of(b, range(200)))
        values.append(found.value)
        widths.append((found.high - found.low) / 2 / 2.09)  # Student's t of 19 degrees
    np.testing.assert_allclose(np.mean(widths), np.std(values), rtol=0.35)  # 40 runs: the scatter is known to 11 %


def test_a_patients_images_are_left_out_together():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(60, 3))
    fourfold = np.repeat(features, 4, axis=0) + rng.normal(0, 0.01, (240, 3))
    other = Moments.of(rng.normal(1, 1, size=(200, 3)), range(1000, 1200))
    width = lambda estimate: estimate.high - estimate.low
    by_patient = frechet(other, Moments.of(fourfold, np.repeat(np.arange(60), 4)))
    by_image = frechet(other, Moments.of(fourfold, range(240)))
    assert by_patient.count == 60
    assert width(by_image) < 0.8 * width(by_patient)


def test_what_has_no_distance_is_said():
    one = Moments.of(np.zeros((1, 2)), ["a"])
    assert np.isnan(frechet(one, one).value)
    with pytest.raises(ValueError, match="1 feature vectors have no covariance"):
        one.gaussian()
    with pytest.raises(ValueError, match="not finite"):
        Moments.of(np.array([[np.nan]]), ["a"])
    with pytest.raises(ValueError, match=r"\(2, 3\) of 1 patients"):
        Moments.of(np.zeros((2, 3)), ["a"])
