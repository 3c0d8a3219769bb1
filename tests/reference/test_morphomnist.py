"""Morpho-MNIST as published: files, true equations, measured thickness and intensity."""

import numpy as np
import pytest

from prism_jax.data.sources import morphomnist
from prism_jax.metrics import digits
from tests.reference.conftest import shared_folder


@pytest.fixture(scope="module")
def source():
    return shared_folder("data", "morphomnist")


@pytest.fixture(scope="module")
def held_out(source):
    return morphomnist.read(source, "test")


def test_splits_do_not_overlap_and_name_their_rows(source, held_out):
    parts = [morphomnist.read(source, split) for split in ("train", "val")] + [held_out]
    assert [len(part.ids) for part in parts] == [8000, 1000, 1000]
    assert len(np.unique(np.concatenate([part.ids for part in parts]))) == 10_000
    assert held_out.origin == "rows 9000 to 9999 of t10k"
    assert held_out.images.shape == (1000, 28, 28)
    assert morphomnist.padded(held_out.images[:2]).shape == (2, 32, 32, 1)


def test_the_table_of_training_digits_obeys_the_true_equations(source):
    known = morphomnist.table(source, "train").attributes
    level = (known["intensity"].astype(np.float64) - 64) / 191
    noise = 2 * (np.log(level / (1 - level)) - 2 * (known["thickness"] - 2.5))
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs(np.corrcoef(noise, known["thickness"])[0, 1]) < 0.01
    assert np.bincount(known["digit"]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_measured_thickness_and_intensity_are_those_aimed_at(held_out):
    images, known = held_out.images[:100], held_out.attributes
    intensity, thickness = digits.intensity(images), digits.thickness(morphomnist.padded(images)[..., 0])
    assert np.abs(intensity - known["intensity"][:100]).mean() < 0.8
    assert np.abs(thickness - known["thickness"][:100]).mean() < 0.13
    assert abs((thickness - known["thickness"][:100]).mean()) < 0.05
    brighter = morphomnist.brightened(images, known["intensity"][:100], np.full(100, 200.0))
    assert np.abs(digits.intensity(brighter) - 200).mean() < 1.5
