import dataclasses

import numpy as np
import pytest

from prism_jax.metrics.counterfactual import CounterfactualMetrics


def subject(*, reconstruction, edited, truth, mask):
    """One subject of 2x2 pixels, given as flat lists."""
    images = {"reconstruction": reconstruction, "edited": edited, "truth": truth}
    arrays = {name: np.array(pixels, np.uint8).reshape(1, 2, 2) for name, pixels in images.items()}
    return CounterfactualMetrics.of(**arrays, mask=np.array(mask, bool).reshape(1, 2, 2))


# The device covers the first two pixels. The edit takes most of it away and disturbs the last pixel.
GOOD = subject(
    reconstruction=[200, 210, 50, 50], edited=[110, 100, 50, 70], truth=[100, 100, 50, 60], mask=[1, 1, 0, 0]
)
# The edit makes the picture worse inside and leaves it alone outside.
BAD = subject(reconstruction=[20, 20, 10, 10], edited=[40, 20, 10, 10], truth=[20, 20, 12, 8], mask=[1, 1, 0, 0])


def test_errors_are_those_counted_by_hand():
    assert GOOD.edit_inside == [5.0]  # (10 + 0) / 2
    assert GOOD.reconstruction_inside == [105.0]  # (100 + 110) / 2
    assert GOOD.edit_outside == [5.0]  # (0 + 10) / 2
    assert GOOD.reconstruction_outside == [5.0]
    np.testing.assert_allclose(GOOD.change_iou, 2 / 3)  # changed: pixels 0, 1, 3; mask: 0, 1


def test_summary_is_that_counted_by_hand():
    summary = GOOD.merge(BAD).compute()
    assert (summary["closer"].value, summary["closer"].count) == (0.5, 2)
    assert summary["edit_inside"].value == 7.5  # (5 + 10) / 2
    assert summary["outside_growth"].value == 1.0  # (5 + 2) / (5 + 2)
    assert summary["change_iou"].value == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert all(estimate.low <= estimate.value <= estimate.high for estimate in summary.values())


def test_one_ruined_subject_shows_in_the_ratio_of_means_but_not_in_the_median():
    calm = subject(reconstruction=[0, 0, 2, 2], edited=[0, 0, 2, 2], truth=[0, 0, 0, 0], mask=[1, 1, 0, 0])
    ruined = subject(reconstruction=[0, 0, 2, 2], edited=[0, 0, 90, 90], truth=[0, 0, 0, 0], mask=[1, 1, 0, 0])
    summary = calm.merge(calm, ruined).compute()
    assert summary["outside_growth_median"].value == 1.0
    assert summary["outside_growth"].value == pytest.approx((2 + 2 + 90) / 6)


def test_a_tie_is_not_closer():
    tie = subject(reconstruction=[9, 9, 0, 0], edited=[9, 9, 0, 0], truth=[0, 0, 0, 0], mask=[1, 1, 0, 0])
    assert not tie.closer[0]
    assert tie.outside_growth == [1.0]  # 0 / 0: nothing has grown


def test_bytes_do_not_wrap():
    far = subject(reconstruction=[0, 255, 0, 255], edited=[255, 0, 255, 0], truth=[0] * 4, mask=[1, 1, 0, 0])
    assert far.edit_inside == [127.5]
    assert far.change_iou == [0.5]


def test_a_subject_without_a_mask_is_not_counted():
    nothing = subject(reconstruction=[1] * 4, edited=[2] * 4, truth=[3] * 4, mask=[0] * 4)
    summary = GOOD.merge(nothing).compute()
    assert (summary["closer"].count, summary["closer"].value) == (1, 1.0)
    assert (summary["edit_inside"].count, summary["edit_outside"].count) == (1, 2)
    assert summary["change_iou"].count == 1


def test_merged_halves_equal_the_whole():
    rng = np.random.default_rng(0)
    images = {
        name: rng.integers(0, 256, (6, 8, 8), dtype=np.uint8) for name in ("reconstruction", "edited", "truth")
    } | {"mask": rng.random((6, 8, 8)) < 0.3}
    whole = CounterfactualMetrics.of(**images)
    parts = [CounterfactualMetrics.of(**{k: v[s] for k, v in images.items()}) for s in np.split(np.arange(6), 3)]
    merged = parts[0].merge(*parts[1:])
    for field in dataclasses.fields(whole):
        np.testing.assert_array_equal(getattr(merged, field.name), getattr(whole, field.name))
    assert merged.compute() == whole.compute()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"edited": np.zeros((1, 4, 4), np.float32)}, "edited is float32"),
        ({"truth": np.zeros((1, 4, 5), np.uint8)}, r"truth has shape \(1, 4, 5\)"),
        ({"mask": np.zeros((1, 4, 4), np.uint8)}, "mask is uint8; it must be bool"),
    ],
)
def test_wrong_input_is_named(broken, message):
    grey = {name: np.zeros((1, 4, 4), np.uint8) for name in ("reconstruction", "edited", "truth")}
    with pytest.raises(ValueError, match=message):
        CounterfactualMetrics.of(**(grey | {"mask": np.zeros((1, 4, 4), bool)} | broken))
