import numpy as np
import pytest

from prism_jax.metrics.image import PSNR_CEILING, l1, psnr, ssim
from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap, delete_group, proportion, wilson


def _numbers(estimate: Estimate) -> list[float]:
    return [estimate.value, estimate.low, estimate.high]


@pytest.fixture(scope="module")
def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (5, 24, 16, 3)).astype(np.float32)
    return images, np.clip(images + rng.normal(0, 0.1, images.shape), -1, 1).astype(np.float32)


def test_the_range_in_which_images_are_stored_does_not_matter(batch):
    grey = [(images + 1) * 127.5 for images in batch]
    for metric in (psnr, ssim):
        np.testing.assert_allclose(metric(*grey, value_range=(0.0, 255.0)), metric(*batch), rtol=1e-5)


def test_equal_images_are_perfect(batch):
    images, _ = batch
    np.testing.assert_allclose(ssim(images, images), 1.0, atol=1e-6)
    np.testing.assert_array_equal(psnr(images, images), PSNR_CEILING)
    np.testing.assert_array_equal(l1(images, images), 0.0)


def test_each_image_is_measured_alone(batch):
    images, references = batch
    for metric in (l1, psnr, ssim):
        one_by_one = [metric(images[i : i + 1], references[i : i + 1])[0] for i in range(len(images))]
        np.testing.assert_allclose(metric(images, references), one_by_one, rtol=1e-6)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"\(1, 16, 16, 1\) and references \(1, 16, 16, 3\)"):
        l1(np.zeros((1, 16, 16, 1)), np.zeros((1, 16, 16, 3)))
    with pytest.raises(ValueError, match="10x16 are smaller than SSIM's 11x11"):
        ssim(np.zeros((1, 10, 16, 1)), np.zeros((1, 10, 16, 1)))


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(400):  # a new seed each time: one set of resamples would tilt all intervals alike
        config = BootstrapConfig(resamples=200, level=0.9, seed=seed)
        estimate = bootstrap(np.mean, rng.normal(1.0, 2.0, 60), config=config)
        covered += estimate.low <= 1.0 <= estimate.high
    # Percentile intervals of 60 values cover 0.885; two Monte Carlo errors either side are 0.03.
    assert 0.855 <= covered / 400 <= 0.915


def test_rows_of_one_subject_are_drawn_together():
    values = np.random.default_rng(0).normal(size=40)
    once = bootstrap(np.mean, values)
    fourfold = bootstrap(np.mean, np.repeat(values, 4), subjects=np.repeat(np.arange(40), 4))
    naive = bootstrap(np.mean, np.repeat(values, 4))
    assert fourfold.count == 40
    np.testing.assert_allclose(fourfold.high - fourfold.low, once.high - once.low, rtol=1e-6)
    assert naive.high - naive.low < 0.6 * (once.high - once.low)


def test_missing_values_are_left_out_and_not_counted():
    with_gap = bootstrap(np.mean, np.array([1.0, np.nan, 3.0]))
    assert (with_gap.value, with_gap.count) == (2.0, 2)
    empty = bootstrap(np.mean, np.array([np.nan]))
    assert np.isnan(empty.value)
    assert empty.count == 0


def test_wilson_interval_matches_worked_figures():
    # Newcombe 1998, table I, method 3
    worked = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (hits, count), bounds in worked.items():
        np.testing.assert_allclose(_numbers(wilson(hits, count))[1:], bounds, atol=5e-5)
    assert wilson(20, 20).high == 1.0
    assert wilson(0, 0).count == 0
    with pytest.raises(ValueError, match="3 hits of 2"):
        wilson(3, 2)


def test_a_share_by_patient_is_wilsons_of_patients():
    assert proportion(np.array([1.0, 0.0, 1.0, np.nan])) == wilson(2, 3)
    by_patient = proportion(np.repeat([1.0, 0.0], [8, 4]), subjects=np.repeat([0, 1, 2], 4))
    assert by_patient == wilson(2, 3)  # not 8 of 12
    mixed = proportion(np.array([1.0, 0.0, 1.0]), subjects=np.array(["a", "a", "b"]))
    assert (mixed.value, mixed.count) == (0.75, 2)
    assert proportion(np.array([np.nan])).count == 0


def test_the_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(0).normal(size=20)
    without = [np.mean(np.delete(values, i)) for i in range(20)]
    found = delete_group(float(values.mean()), np.array(without), count=20)
    half = 2.093024 * values.std(ddof=1) / np.sqrt(20)  # Student's t of 19 degrees, 97.5 %
    np.testing.assert_allclose([found.low, found.high], [values.mean() - half, values.mean() + half], rtol=1e-6)
    assert np.isnan(delete_group(1.0, np.array([1.0]), count=1).low)
