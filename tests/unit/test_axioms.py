import numpy as np
import pytest

from prism_jax.metrics import axioms
from prism_jax.stats.intervals import BootstrapConfig

QUICK = BootstrapConfig(resamples=50)
IMAGES = np.zeros((2, 4, 4, 3), np.float32)


def test_a_distance_counts_grey_levels():
    found = axioms.pixel_distance(IMAGES + np.float32(2 / 255), IMAGES)
    np.testing.assert_allclose(found, [1.0, 1.0], rtol=1e-5)  # 2/255 of [-1, 1] is one of 255


PATIENTS = np.arange(4)
TARGETS = {
    "age": np.array([50.0, 60, 70, 80]),
    "sex": np.array([True, False, True, False]),
    "race": np.array([0, 1, 2, 0]),
}
PREDICTED = {
    "age": np.array([52.0, 60, 66, 80]),
    "sex": np.array([0.9, 0.2, 0.4, 0.3]),
    "race": np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.7, 0.2], [0.6, 0.2, 0.2]]),
}


def test_effectiveness_is_what_is_counted_by_hand():
    found = axioms.effectiveness(PREDICTED, TARGETS, patients=PATIENTS, config=QUICK)
    assert found["age"]["error"].value == 1.5
    assert (found["sex"]["accuracy"].value, found["sex"]["auroc"].value) == (0.75, 1.0)
    assert found["race"]["accuracy"].value == 0.75
    assert found["race"]["auroc"].value == pytest.approx((1 + 1 + 5 / 6) / 3)  # of class 2, one of three ties
    assert found["race"]["accuracy"].count == 4


def test_effectiveness_of_other_attributes_than_predicted_is_refused():
    with pytest.raises(ValueError, match="give the same attributes"):
        axioms.effectiveness({"age": TARGETS["age"]}, TARGETS, patients=PATIENTS)
    with pytest.raises(ValueError, match="age has \\[4\\] rows for 3 patients"):
        axioms.effectiveness({"age": TARGETS["age"]}, {"age": TARGETS["age"]}, patients=PATIENTS[:3])


def test_the_latent_divergence_is_its_formula():
    # From the image at 0: those with the old value at 1 and 3, those with the new one at 2 and 4; it moved by 2.
    found = axioms.minimality(
        np.zeros((1, 1)),
        np.full((1, 1), 2.0),
        np.array([[1.0], [3.0], [2.0], [4.0]]),
        factual=np.array([0]),
        target=np.array([1]),
        reference_values=np.array([0, 0, 1, 1]),
        patients=np.array(["a"]),
        reference_patients=np.array(["b"] * 4),
    )
    # Distances in blocks are those of squares, so that a tie is a matter of rounding; 2 and 2 here are exact.
    np.testing.assert_allclose(found, np.log(0.8 * np.exp(0.5) + 0.2 * np.exp(0.5)))


def test_a_small_step_is_more_minimal_than_a_large_one():
    rng = np.random.default_rng(0)
    images, reference_set = rng.normal(size=(30, 4)), rng.normal(size=(100, 4))
    values = dict(factual=np.zeros(30), target=np.ones(30), reference_values=np.arange(100) % 2)
    values |= dict(patients=np.arange(30), reference_patients=np.arange(30, 130))
    near, far = (axioms.minimality(images, images + step, reference_set, **values) for step in (0.01, 5.0))
    np.testing.assert_allclose(near, np.log(0.8 + 0.2 * np.e), rtol=1e-9)
    np.testing.assert_allclose(far, np.log(0.8 * np.e + 0.2), rtol=1e-9)


def test_without_test_images_of_other_patients_nothing_is_said_of_minimality():
    found = axioms.minimality(
        np.zeros((1, 1)),
        np.ones((1, 1)),
        np.array([[1.0], [2.0]]),
        factual=np.array([0]),
        target=np.array([1]),
        reference_values=np.array([0, 1]),
        patients=np.array(["a"]),
        reference_patients=np.array(["b", "a"]),
    )
    assert np.isnan(found).all()


def test_bins_hold_equal_shares_of_the_training_values():
    training = np.random.default_rng(0).gamma(2.0, size=1000)
    assert np.ptp(np.bincount(axioms.deciles(training, training))) <= 1
    assert axioms.deciles(np.array([-1.0, 1e9]), training).tolist() == [0, 9]
