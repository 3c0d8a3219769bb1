"""Effects by group, against scipy's analysis of variance."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from prism_jax.stats.effects import EffectConfig, Row
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.stats.subgroups import age_groups, compare_groups

CONFIG = EffectConfig(bootstrap=BootstrapConfig(resamples=300))


@pytest.fixture(scope="module")
def row() -> Row:
    rng = np.random.default_rng(0)
    return Row(changes=rng.normal(size=(75, 2)) * np.linspace(0.5, 2, 75)[:, None], patients=np.arange(75))


def test_one_image_a_patient_gives_welch_s_test(row):
    for names in (("F", "M"), ("AP", "LL", "PA")):
        groups = np.array(names)[np.arange(75) * len(names) // 75]
        found = compare_groups(row, groups, ("x", "y"), CONFIG)
        for one, values in zip(found, row.changes.T, strict=True):
            theirs = stats.f_oneway(*(values[groups == name] for name in names), equal_var=False)
            assert one.p == pytest.approx(theirs.pvalue)
            assert [e.value for e in one.effects] == pytest.approx([values[groups == name].mean() for name in names])
        assert all(one.q >= one.p for one in found)


def test_views_of_the_same_patients_are_compared_within_them():
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(40), 2)
    groups = np.tile(["AP", "PA"], 40)
    changes = (3 * rng.normal(size=40))[patients] + 0.5 * (groups == "PA") + 0.1 * rng.normal(size=80)
    one = compare_groups(Row(changes=changes[:, None], patients=patients), groups, ("x",), CONFIG)[0]
    assert one.p < 1e-6  # 0.5 beside a spread of 3 between patients: only pairs can tell
    assert one.effects[0].count == 40


def test_small_and_unknown_groups_are_named_and_not_tested(row):
    groups = np.where(np.arange(75) < 5, "M", np.where(np.arange(75) < 10, "", "F"))
    one = compare_groups(row, groups, ("x", "y"), CONFIG)[0]
    assert one.reason == "too few patients, 10 are needed: M (5)"
    assert np.isnan([one.p, one.effects[1].low]).all()
    with pytest.raises(ValueError, match="give one per image"):
        compare_groups(row, np.full(75, "F"), ("x", "y"), CONFIG)


def test_missing_measurements_do_not_count(row):
    changes = row.changes.copy()
    changes[:30, 0] = np.nan
    groups = np.tile(["F", "M", "M"], 25)
    one = compare_groups(dataclasses.replace(row, changes=changes), groups, ("x", "y"), CONFIG)[0]
    assert [estimate.count for estimate in one.effects] == [15, 30]


def test_ages_fall_into_bands_and_unknown_ones_into_none():
    assert list(age_groups(np.array([39.9, 40, 75, np.nan]))) == ["under 40", "40 to 60", "75 and over", ""]
