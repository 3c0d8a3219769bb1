import numpy as np
import pytest

from prism_jax.metrics.prediction import PredictionGain

# Removed and gone; removed and still seen; added and seen; added, but seen before.
EDITS = PredictionGain.of(
    [0.9, 0.8, 0.2, 0.6], [0.1, 0.7, 0.7, 0.9], wanted=[False, False, True, True], patients=["a", "a", "b", "c"]
)


def test_gains_and_flips_are_those_counted_by_hand():
    np.testing.assert_allclose(EDITS.gain, [0.8, 0.1, 0.5, 0.3])
    np.testing.assert_array_equal(EDITS.flipped, [1, 0, 1, np.nan])
    found = EDITS.compute()
    assert found["prediction_gain"].value == pytest.approx(0.425)
    assert found["gain"].count == 3
    assert (found["flipped"].value, found["flipped"].count) == (0.75, 2)  # by patient: (1/2 + 1) / 2
    assert found["already"].value == pytest.approx(1 / 3)


def test_a_change_in_the_wrong_direction_is_a_loss_but_as_large():
    worse = PredictionGain.of([0.5], [0.2], wanted=True, patients=["a"]).compute()
    assert worse["gain"].value == pytest.approx(-0.3)
    assert worse["prediction_gain"].value == pytest.approx(0.3)


def test_edits_that_were_not_made_are_not_counted():
    some = PredictionGain.of([0.9, 0.9], [0.1, np.nan], wanted=False, patients=["a", "b"]).compute()
    assert {estimate.count for estimate in some.values()} == {1}


def test_merged_halves_equal_the_whole():
    rng = np.random.default_rng(0)
    columns = rng.random((2, 30))
    wanted, patients = rng.random(30) < 0.5, np.arange(30) // 2
    part = lambda rows: PredictionGain.of(*columns[:, rows], wanted=wanted[rows], patients=patients[rows])
    assert part(slice(0, 11)).merge(part(slice(11, None))).compute() == part(slice(None)).compute()


def test_what_is_no_probability_is_refused():
    with pytest.raises(ValueError, match=r"from 0.5 to 1.2; give probabilities"):
        PredictionGain.of([0.5], [1.2], wanted=True, patients=["a"])
    with pytest.raises(ValueError, match="one number an edit"):
        PredictionGain.of([0.5], [0.2, 0.1], wanted=True, patients=["a"])
