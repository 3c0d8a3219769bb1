"""Morpho-MNIST is read whole, its true equations hold, and what is measured on pixels is what was aimed at."""

import gzip
import json
import struct

import numpy as np
import pytest

from prism_jax.data.sources import morphomnist
from prism_jax.metrics import digits
from tests.conftest import shared_folder


@pytest.fixture(scope="module")
def source():
    return shared_folder("data", "morphomnist")


@pytest.fixture(scope="module")
def held_out(source):
    return morphomnist.read(source, "test")


@pytest.mark.shared
def test_parts_do_not_overlap_and_say_where_they_are_from(source, held_out):
    parts = [morphomnist.read(source, split) for split in ("train", "val")] + [held_out]
    assert [len(part.ids) for part in parts] == [8000, 1000, 1000]
    assert len(np.unique(np.concatenate([part.ids for part in parts]))) == 10_000
    assert held_out.origin == "rows 9000 to 9999 of t10k"
    assert held_out.images.shape == (1000, 28, 28)
    assert morphomnist.padded(held_out.images[:2]).shape == (2, 32, 32, 1)


@pytest.mark.shared
def test_the_table_of_training_digits_obeys_the_true_equations(source):
    known = morphomnist.table(source, "train").attributes
    noise = morphomnist.noise_of(known["thickness"], known["intensity"])
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs(np.corrcoef(noise, known["thickness"])[0, 1]) < 0.01
    assert np.bincount(known["digit"]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.mark.shared
def test_true_counterfactuals_agree_with_the_reference(reference, source):
    known = morphomnist.table(source, "t10k").attributes
    for row in json.loads((reference / "scm" / "traces" / "meta.json").read_text())["morpho_true_scm"]:
        one = {name: column[row["index"]][None] for name, column in known.items()}
        result = morphomnist.true_counterfactual(one, {"thickness": row["do_thickness"]})
        np.testing.assert_allclose(result["intensity"], row["cf_intensity"], rtol=1e-4)
        np.testing.assert_allclose(morphomnist.true_counterfactual(one, {})["intensity"], row["intensity"], rtol=1e-6)


@pytest.mark.shared
def test_measured_thickness_and_intensity_are_those_aimed_at(held_out):
    images, known = held_out.images[:100], held_out.attributes
    intensity, thickness = digits.intensity(images), digits.thickness(morphomnist.padded(images)[..., 0])
    assert np.abs(intensity - known["intensity"][:100]).mean() < 0.8
    assert np.abs(thickness - known["thickness"][:100]).mean() < 0.13
    assert abs((thickness - known["thickness"][:100]).mean()) < 0.05
    brighter = morphomnist.brightened(images, known["intensity"][:100], np.full(100, 200.0))
    assert np.abs(digits.intensity(brighter) - 200).mean() < 1.5


def drawn_line(width, length=40, side=64):
    image = np.zeros((side, side))
    image[10 : 10 + length, 20 : 20 + width] = 200
    return image


def test_thickness_of_a_line_is_its_width_whatever_its_length_or_brightness():
    images = np.stack([drawn_line(6), drawn_line(6, length=30) * 0.5, drawn_line(6).T, drawn_line(12)])
    measured = digits.thickness(images)
    np.testing.assert_allclose(measured[:3], 6, atol=0.6)
    np.testing.assert_allclose(measured[3] - measured[0], 6, atol=1.2)
    assert np.isnan(digits.thickness(np.zeros((1, 28, 28)))).all()
    np.testing.assert_array_equal(digits.intensity(images), [200, 100, 200, 200])


def test_a_skeleton_is_thin_and_keeps_holes_and_pieces_apart():
    shapes = np.zeros((1, 24, 40), bool)
    shapes[0, 3:20, 3:20] = True
    shapes[0, 9:14, 9:14] = False  # a ring
    shapes[0, 4:10, 28:36] = True  # a block
    bones = digits.skeleton(shapes)[0]
    assert not (bones & ~shapes[0]).any()
    blocks = bones[:-1, :-1] & bones[1:, :-1] & bones[:-1, 1:] & bones[1:, 1:]
    assert not blocks.any()
    assert digits.ndimage.label(bones, np.ones((3, 3)))[1] == 2
    assert digits.ndimage.label(~bones)[1] == 2  # outside, and inside the ring


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"t10k-morpho.csv is missing; give the folder"):
        morphomnist.read(tmp_path, "test")
    with pytest.raises(ValueError, match="got 'valid'"):
        morphomnist.read(tmp_path, "valid")
    whole = struct.pack(">HBBII", 0, 8, 2, 2, 3) + bytes(range(6))
    (tmp_path / "good.gz").write_bytes(gzip.compress(whole))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(whole[:-1]))
    (tmp_path / "torn.gz").write_bytes(gzip.compress(whole)[:-9])
    np.testing.assert_array_equal(morphomnist.read_idx(tmp_path / "good.gz"), np.arange(6).reshape(2, 3))
    for name, message in (("cut.gz", "not a whole IDX file"), ("torn.gz", "cannot be unpacked")):
        with pytest.raises(ValueError, match=message):
            morphomnist.read_idx(tmp_path / name)
