"""Morpho-MNIST as published: files, true equations, measured thickness and intensity."""

import json

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


def test_parts_do_not_overlap_and_say_where_they_are_from(source, held_out):
    parts = [morphomnist.read(source, split) for split in ("train", "val")] + [held_out]
    assert [len(part.ids) for part in parts] == [8000, 1000, 1000]
    assert len(np.unique(np.concatenate([part.ids for part in parts]))) == 10_000
    assert held_out.origin == "rows 9000 to 9999 of t10k"
    assert held_out.images.shape == (1000, 28, 28)
    assert morphomnist.padded(held_out.images[:2]).shape == (2, 32, 32, 1)


def test_the_table_of_training_digits_obeys_the_true_equations(source):
    known = morphomnist.table(source, "train").attributes
    noise = morphomnist.noise_of(known["thickness"], known["intensity"])
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs(np.corrcoef(noise, known["thickness"])[0, 1]) < 0.01
    assert np.bincount(known["digit"]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_true_counterfactuals_agree_with_the_reference(reference, source):
    known = morphomnist.table(source, "t10k").attributes
    for row in json.loads((reference / "scm" / "traces" / "meta.json").read_text())["morpho_true_scm"]:
        one = {name: column[row["index"]][None] for name, column in known.items()}
        result = morphomnist.true_counterfactual(one, {"thickness": row["do_thickness"]})
        np.testing.assert_allclose(result["intensity"], row["cf_intensity"], rtol=1e-4)
        np.testing.assert_allclose(morphomnist.true_counterfactual(one, {})["intensity"], row["intensity"], rtol=1e-6)


def test_measured_thickness_and_intensity_are_those_aimed_at(held_out):
    images, known = held_out.images[:100], held_out.attributes
    intensity, thickness = digits.intensity(images), digits.thickness(morphomnist.padded(images)[..., 0])
    assert np.abs(intensity - known["intensity"][:100]).mean() < 0.8
    assert np.abs(thickness - known["thickness"][:100]).mean() < 0.13
    assert abs((thickness - known["thickness"][:100]).mean()) < 0.05
    brighter = morphomnist.brightened(images, known["intensity"][:100], np.full(100, 200.0))
    assert np.abs(digits.intensity(brighter) - 200).mean() < 1.5
