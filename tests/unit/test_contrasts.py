"""Rows made of rows: placebos taken away, two edits together."""

import dataclasses

import numpy as np
import pytest

from prism_jax.stats.contrasts import difference_in_differences, interaction, paired_by_image
from prism_jax.stats.effects import Row

IMAGES = np.array(["c", "a", "b", "d"])


def row(*changes: float, images=IMAGES) -> Row:
    patients = np.array([ord(name[0]) // 2 for name in images])
    return Row(changes=np.array(changes)[:, None], patients=patients, images=images)


def test_difference_takes_the_mean_placebo_from_each_image_whatever_the_order():
    placebos = row(1, 2, 3, 4), row(30.0, 5, 4, images=np.array(["b", "c", "a"]))
    found = difference_in_differences(row(10, 20, 30, 40), *placebos)
    assert list(found.images) == ["a", "b", "c"]
    assert found.changes[:, 0] == pytest.approx([20 - 3, 30 - 16.5, 10 - 3])
    assert list(found.patients) == [48, 49, 49]


def test_effects_that_add_up_have_no_interaction():
    first, second = row(1, 2, 3, 4), row(5, 5, 5, 5)
    both = dataclasses.replace(first, changes=first.changes + second.changes)
    assert interaction(both, first, second).changes == pytest.approx(0)


def test_rows_without_names_are_paired_by_order_if_their_patients_are_alike():
    first = dataclasses.replace(row(1, 2, 3, 4), images=None)
    assert len(paired_by_image([first, first])) == 2
    with pytest.raises(ValueError, match="give each its `images`"):
        paired_by_image([first, dataclasses.replace(first, patients=first.patients[::-1])])
    with pytest.raises(ValueError, match="give each its `images`"):
        paired_by_image([first, row(1, 2, 3, 4)])


@pytest.mark.parametrize(
    ("images", "message"),
    [(["x", "y", "z", "w"], "no image in common"), (["a", "a", "b", "c"], "named twice")],
)
def test_images_that_cannot_be_paired_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        difference_in_differences(row(1, 2, 3, 4), row(1, 2, 3, 4, images=np.array(images)))


def test_one_image_of_two_patients_and_no_control_are_refused():
    other = dataclasses.replace(row(1, 2, 3, 4), patients=np.arange(4))
    with pytest.raises(ValueError, match="different patients"):
        difference_in_differences(row(1, 2, 3, 4), other)
    with pytest.raises(ValueError, match="no negative control"):
        difference_in_differences(other)
