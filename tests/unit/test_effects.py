"""The effect matrix: what a cell says, which cells are corrected together, and when nothing can be concluded."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from prism_jax import json_codec
from prism_jax.stats import effects
from prism_jax.stats.effects import (
    EFFECT,
    INCONCLUSIVE,
    INSUFFICIENT_DATA,
    NEGLIGIBLE,
    NO_EFFECT,
    EffectConfig,
    Row,
    measure,
)
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.stats.sign_flip_test import SignFlipConfig

COLUMNS = ("target", "carried", "slight", "still", "noisy")
CONFIG = EffectConfig(bootstrap=BootstrapConfig(resamples=500), sign_flips=SignFlipConfig(num_permutations=1000))
PATIENTS = 40


def row(seed: int = 0, patients: int = PATIENTS, most: int = 4, **fields) -> Row:
    """An edit that moves its target by -2, something carried along by -0.6, and another by a sure, small 0.05."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), rng.integers(1, most + 1, patients))
    before = rng.normal(size=(patients, 5))[owner]
    noise = rng.normal(size=(patients, 5))[owner] + rng.normal(size=(len(owner), 5))
    changes = np.array([-2, -0.6, 0.05, 0, 0]) + noise * np.array([0.3, 0.3, 0.03, 0.03, 1.5])
    fields = dict(targets=("target",), images=np.arange(len(owner))) | fields
    return Row.of(before, before + changes, owner, **fields)


@pytest.fixture(scope="module")
def found() -> effects.Effects:
    return measure({"remove": row(), "synonym": row(1, is_negative_control=True, targets=())}, COLUMNS, CONFIG)


def test_each_cell_gets_the_verdict_that_its_changes_deserve(found):
    verdicts = [found.cell("remove", column).verdict for column in COLUMNS]
    assert verdicts == [EFFECT, EFFECT, NEGLIGIBLE, NO_EFFECT, INCONCLUSIVE]
    assert [one.family for one in found.cells[:5]] == ["on-target", *["off-target"] * 4]
    assert {one.family for one in found.cells[5:]} == {"negative control"}


def test_an_effect_is_the_mean_over_images_and_counts_patients(found):
    one, cell = row(), found.cell("remove", "carried")
    assert cell.effect.value == pytest.approx(one.changes[:, 1].mean())
    assert (cell.effect.count, cell.images) == (PATIENTS, len(one.patients))
    assert cell.effect.low < -0.6 < cell.effect.high
    assert PATIENTS / 2 < cell.effective_sample_size < PATIENTS


def test_the_unit_of_standardised_effects_is_the_sd_of_patients_before_the_edit(found):
    one, cell = row(), found.cell("remove", "carried")
    means = [one.before[one.patients == patient, 1].mean() for patient in range(PATIENTS)]
    assert cell.std == pytest.approx(np.std(means, ddof=1))
    assert cell.standardised.value == pytest.approx(cell.effect.value / cell.std)


def test_one_image_a_patient_gives_a_t_interval_or_one_that_holds_it():
    one = row(most=1)
    cell = measure({"remove": one}, COLUMNS, CONFIG).cell("remove", "noisy")
    theirs = stats.ttest_1samp(one.changes[:, 4], 0).confidence_interval(0.95)
    assert cell.effect.low <= theirs.low + 1e-12
    assert cell.effect.high >= theirs.high - 1e-12
    assert cell.effect.high - cell.effect.low < 1.2 * (theirs.high - theirs.low)


def test_families_are_corrected_apart(found):
    alone = measure({"remove": row()}, COLUMNS, CONFIG)
    off = [one for one in alone.cells if one.family == "off-target"]
    assert [one.q for one in off] == [found.cell("remove", one.column).q for one in off]
    assert alone.cell("remove", "target").q == alone.cell("remove", "target").p  # its only member


def test_cells_of_other_patients_and_missing_images_are_measured_as_if_alone():
    first, second = row(), row(5)
    second = dataclasses.replace(second, patients=second.patients + PATIENTS // 2)
    changes = second.changes.copy()
    changes[second.patients % 3 == 0, 1] = np.nan
    second = dataclasses.replace(second, changes=changes)
    together = measure({"one": first, "two": second}, COLUMNS, CONFIG).cell("two", "carried")
    known = ~np.isnan(changes[:, 1])
    cut = Row(changes=changes[known], before=second.before[known], patients=second.patients[known])
    alone = measure({"two": cut}, COLUMNS, CONFIG).cell("two", "carried")
    for one, other in ((together.effect, alone.effect), (together.standardised, alone.standardised)):
        assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(other))
    assert (together.images, together.verdict) == (alone.images, alone.verdict)


def test_few_patients_or_one_with_most_images_conclude_nothing():
    few = measure({"remove": row(patients=6)}, COLUMNS, CONFIG).cell("remove", "target")
    assert (few.verdict, few.reason) == (INSUFFICIENT_DATA, "6 patients; 10 are needed")
    assert np.isnan([few.p, few.q, few.family_p]).all()
    one = row(patients=12, most=1)
    uneven = dataclasses.replace(one, patients=np.minimum(one.patients, 11), images=None, before=None)
    uneven = dataclasses.replace(uneven, changes=np.repeat(uneven.changes, [1] * 11 + [60], axis=0))
    uneven = dataclasses.replace(uneven, patients=np.repeat(one.patients, [1] * 11 + [60]))
    cell = measure({"remove": uneven}, COLUMNS, CONFIG).cell("remove", "target")
    assert (cell.verdict, cell.reason) == (INSUFFICIENT_DATA, "effective sample size 1.4 of 12 patients; 10 is needed")


def test_a_column_that_nobody_was_measured_in_says_so():
    one = row()
    changes = one.changes.copy()
    changes[:, 3] = np.nan
    cell = measure({"remove": dataclasses.replace(one, changes=changes)}, COLUMNS, CONFIG).cell("remove", "still")
    assert (cell.verdict, cell.effect.count, cell.reason) == (INSUFFICIENT_DATA, 0, "0 patients; 10 are needed")


def test_without_scores_before_there_is_no_spread_and_the_margin_is_in_the_unit_if_asked():
    one = dataclasses.replace(row(), before=None)
    assert measure({"remove": one}, COLUMNS, CONFIG).cell("remove", "still").verdict == INCONCLUSIVE
    unit = dataclasses.replace(CONFIG, margin_of="unit", margin=0.1)
    cell = measure({"remove": one}, COLUMNS, unit).cell("remove", "still")
    assert (cell.verdict, cell.within.value) == (NO_EFFECT, cell.effect.value)
    assert np.isnan(cell.standardised.value)


def test_grids_have_the_shape_of_the_matrix(found):
    assert found.grid(lambda cell: cell.effect.value).shape == (2, 5)


def test_effects_are_written_as_json_and_read_back(found):
    written = json_codec.encode(found)
    assert json_codec.encode(json_codec.decode(effects.Effects, json.loads(json.dumps(written)))) == written


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(targets=("heart",)), "meant to change"),
        (dict(before=np.zeros((3, 5))), "before has shape"),
        (dict(changes=np.full((3, 5), np.inf), before=None, patients=np.arange(3)), "infinite"),
        (dict(changes=np.zeros((3, 5)), before=np.full((3, 5), np.nan), patients=np.arange(3)), "make it NaN"),
    ],
)
def test_rows_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        measure({"remove": dataclasses.replace(row(), **fields)}, COLUMNS, CONFIG)


def test_senseless_options_and_unknown_cells_are_refused(found):
    with pytest.raises(ValueError, match="margin must be above 0, got 0"):
        EffectConfig(margin=0)
    with pytest.raises(ValueError, match="no cell 'add'"):
        found.cell("add", "target")
