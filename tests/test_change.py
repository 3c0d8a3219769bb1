import numpy as np
import pytest

from prism_jax.metrics.change import ChangeMetrics


def test_changes_are_those_counted_by_hand():
    before, after = np.array([[[200, 10], [0, 0]]], np.uint8), np.array([[[100, 40], [10, 0]]], np.uint8)
    mask = np.array([[[True, True], [False, False]]])
    found = ChangeMetrics.of(before, after, mask, patients=["a"])
    assert (found.inside[0], found.outside[0], found.area[0]) == (65.0, 5.0, 0.5)
    assert found.share_inside[0] == 130 / 140


def test_a_change_that_knows_nothing_of_the_mask_has_the_share_of_its_area():
    rng = np.random.default_rng(0)
    before = rng.integers(0, 256, (40, 16, 16), dtype=np.uint8)
    after = rng.integers(0, 256, (40, 16, 16), dtype=np.uint8)
    mask = np.zeros((40, 16, 16), bool)
    mask[:, :4] = True
    found = ChangeMetrics.of(before, after, mask, patients=np.arange(40)).compute()
    assert found["share_inside"].low < found["area"].value == 0.25 < found["share_inside"].high


def test_empty_masks_and_edits_without_change_are_not_counted():
    same = np.zeros((2, 4, 4), np.uint8)
    found = ChangeMetrics.of(same, same, np.zeros((2, 4, 4), bool), patients=["a", "b"]).compute()
    assert {name: estimate.count for name, estimate in found.items()} == {
        "inside": 0,
        "outside": 2,
        "share_inside": 0,
        "area": 2,
    }


def test_merged_halves_equal_the_whole():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2, 9, 8, 8), dtype=np.uint8)
    mask, patients = rng.random((9, 8, 8)) < 0.4, np.arange(9) // 2
    part = lambda rows: ChangeMetrics.of(*images[:, rows], mask[rows], patients=patients[rows])
    assert part(slice(0, 4)).merge(part(slice(4, None))).compute() == part(slice(None)).compute()


def test_other_types_and_shapes_are_refused():
    grey, mask = np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4), bool)
    with pytest.raises(ValueError, match="give uint8, uint8 and bool"):
        ChangeMetrics.of(grey, grey, grey, patients=["a"])
    with pytest.raises(ValueError, match="b patients"):
        ChangeMetrics.of(grey, grey, mask, patients=["a", "b"])
