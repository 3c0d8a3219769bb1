"""Intervals of leakage ratios cover the truth at their level; asymmetry is detected."""

import dataclasses

import numpy as np
import pytest

from prism_jax.stats.effects import EffectConfig, Row
from prism_jax.stats.fieller import asymmetry, ratio
from prism_jax.stats.intervals import BootstrapConfig

CONFIG = EffectConfig(bootstrap=BootstrapConfig(resamples=500))
A, B = 0, 1


def edit(rng, *means: float, patients: int = 30, noise: float = 0.5, first: int = 0) -> Row:
    owner = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    drawn = rng.normal(size=(patients, 2))[owner] + rng.normal(size=(len(owner), 2))
    return Row(changes=np.array(means) + noise * drawn, patients=owner + first)


def test_fieller_s_interval_holds_the_ratio_in_95_of_100():
    rng, runs = np.random.default_rng(0), 600
    found = [ratio(edit(rng, -1.0, -0.4), off=B, on=A) for _ in range(runs)]
    held = np.mean([one.low <= 0.4 <= one.high for one in found])
    assert held == pytest.approx(0.95, abs=3 * (0.05 * 0.95 / runs) ** 0.5)
    assert {one.count for one in found} == {30}


def test_a_target_that_did_not_move_gives_no_ratio():
    found = ratio(edit(np.random.default_rng(1), 0.0, 1.0, noise=2.0), off=B, on=A)
    assert np.isnan([found.low, found.high]).all()


def test_a_ratio_needs_both_attributes_on_one_image():
    row = edit(np.random.default_rng(1), 1.0, 1.0)
    with pytest.raises(ValueError, match="no image has both"):
        ratio(dataclasses.replace(row, changes=np.where([True, False], row.changes, np.nan)), off=B, on=A)


def test_a_tie_in_one_direction_is_found_and_a_judge_s_scale_does_not_matter():
    rng = np.random.default_rng(2)
    of_a, of_b = edit(rng, -2.0, -1.0), edit(rng, 0.0, -2.0, first=15)
    found = asymmetry(of_a, of_b, a=A, b=B, config=CONFIG)
    assert found.first.low < 0.5 < found.first.high
    assert found.second.low < 0 < found.second.high
    assert found.difference.low > 0
    assert found.p < 0.01
    assert found.first.count == 45
    scaled = [dataclasses.replace(row, changes=row.changes * np.array([10.0, 0.1])) for row in (of_a, of_b)]
    assert asymmetry(*scaled, a=A, b=B, config=CONFIG).difference.value == pytest.approx(found.difference.value)


def test_no_direction_is_named_where_both_are_alike_or_an_edit_did_nothing():
    rng = np.random.default_rng(3)
    both = [edit(rng, -2.0, -1.0), edit(rng, -1.0, -2.0)]
    found = asymmetry(*both, a=A, b=B, config=CONFIG)
    assert found.difference.low < 0 < found.difference.high
    with pytest.raises(ValueError, match="the second edit changed its own target by"):
        asymmetry(both[0], edit(rng, -1.0, 0.0), a=A, b=B, config=CONFIG)
