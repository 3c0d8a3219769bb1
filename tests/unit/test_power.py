"""Patients needed, against published numbers and simulation; noise as it was put in."""

import numpy as np
import pytest
from scipy import stats

from prism_jax.stats.effects import Row
from prism_jax.stats.power import Variability, power, required_patients, variance_components

NOISE = Variability(std=1.0, icc=0.0)


@pytest.mark.parametrize(("effect", "patients"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_patients_needed_are_those_of_the_usual_tables(effect, patients):
    found = required_patients(effect, NOISE)  # one-sample t-test, 80 %, two-sided 5 % (G*Power)
    assert found == patients
    assert power(effect, patients, NOISE) >= 0.8 > power(effect, patients - 1, NOISE)


@pytest.mark.parametrize(("images", "icc"), [(1, 0.0), (4, 0.5), (4, 0.0)])
def test_simulated_power_is_what_was_promised(images, icc):
    rng, runs = np.random.default_rng(0), 4000
    noise = Variability(std=0.8, icc=icc)
    found = required_patients(0.3, noise, images=images)
    size = (runs, found)
    own = rng.normal(size=(*size, images)).mean(axis=2)
    means = 0.3 + noise.std * (np.sqrt(icc) * rng.normal(size=size) + np.sqrt(1 - icc) * own)
    seen = np.mean(stats.ttest_1samp(means, 0, axis=1).pvalue <= 0.05)
    assert seen == pytest.approx(power(0.3, found, noise, images=images), abs=3 * (0.16 / runs) ** 0.5)


def test_more_patients_have_more_power_however_little_is_left_to_chance():
    powers = [power(1.0, patients, Variability(std=0.8, icc=0.0), alpha=0.05 / 40) for patients in range(5, 120)]
    assert (np.diff(powers) >= -1e-12).all()
    assert required_patients(1.0, Variability(std=1.0, icc=0.5), images=3, cells=40) == 17


def test_more_images_of_a_patient_help_less_the_more_alike_they_are():
    needed = lambda icc, images: required_patients(0.3, Variability(std=1.0, icc=icc), images=images)
    alike, apart = ([needed(icc, images) for images in (1, 4)] for icc in (0.9, 0.0))
    assert alike[1] > 0.9 * alike[0]
    assert apart[1] < 0.3 * apart[0]


def test_more_cells_need_more_patients():
    assert required_patients(0.3, NOISE, cells=50) > 1.5 * required_patients(0.3, NOISE)


def test_noise_is_found_again():
    rng = np.random.default_rng(1)
    owner = np.repeat(np.arange(600), rng.integers(1, 6, 600))
    changes = 0.6 * rng.normal(size=600)[owner] + 0.8 * rng.normal(size=len(owner))
    found = variance_components(Row(changes=changes[:, None], patients=owner), 0)
    assert found.std == pytest.approx(1.0, abs=0.05)
    assert found.icc == pytest.approx(0.36, abs=0.07)
    alone = variance_components(Row(changes=changes[:, None], patients=np.arange(len(owner))), 0)
    assert (alone.std, alone.icc) == (pytest.approx(changes.std(ddof=1)), 0)


def test_what_has_no_answer_is_refused():
    with pytest.raises(ValueError, match="must not be 0"):
        required_patients(0.0, NOISE)
    with pytest.raises(ValueError, match="needs over"):
        required_patients(1e-5, NOISE)
    with pytest.raises(ValueError, match="two patients or more, got 1"):
        variance_components(Row(changes=np.zeros((2, 1)), patients=np.zeros(2)), 0)
