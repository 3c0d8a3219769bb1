"""Morphometry of drawn digits, and errors that name missing files."""

import gzip
import struct

import numpy as np
import pytest

from prism_jax.data.sources import morphomnist
from prism_jax.metrics import digits


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
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte.gz is missing; give the folder"):
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
