"""Two judges together, and one judge with its errors taken out."""

import dataclasses

import numpy as np
import pytest
from scipy.special import expit

from prism_jax.classifier import Classifier, Prediction
from prism_jax.data.targets import AGE
from prism_jax.evaluation import judges
from prism_jax.stats.consensus import agree
from prism_jax.stats.effects import EffectConfig, Row, measure
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.stats.misclassification import CorrectedChange, corrected_change
from prism_jax.stats.sign_flip_test import SignFlipConfig

COLUMNS = ("both", "one", "opposite", "neither")
CONFIG = EffectConfig(bootstrap=BootstrapConfig(resamples=300), sign_flips=SignFlipConfig(num_permutations=1000))


def judged(*means: float, seed: int = 0, **fields):
    rng = np.random.default_rng(seed)
    before = rng.normal(size=(40, 4))
    row = Row.of(before, before + np.array(means) + 0.2 * rng.normal(size=(40, 4)), np.arange(40))
    return measure({"remove": dataclasses.replace(row, **fields)}, COLUMNS, CONFIG)


def test_an_effect_needs_all_judges_and_one_sign():
    first, second = judged(1, 1, 1, 0), judged(1, 0, -1, 0, seed=1)
    found = agree(first, second)
    assert [one.verdict for one in found] == ["effect", "judges disagree", "judges disagree", "no effect"]
    for one, a, b in zip(found, first.cells, second.cells, strict=True):
        assert one.p == max(a.p, b.p)
        assert one.family_p == max(a.family_p, b.family_p)


def test_what_one_judge_could_not_measure_is_not_concluded():
    nothing = judged(1, 1, 1, 0, changes=np.full((40, 4), np.nan))
    found = agree(judged(1, 1, 1, 0), nothing)
    assert {one.verdict for one in found} == {"insufficient data"}
    assert np.isnan([one.q for one in found]).all()


def test_judges_of_other_edits_or_rules_cannot_be_put_together():
    first = judged(1, 1, 1, 0)
    with pytest.raises(ValueError, match="edits, attributes or configurations differ"):
        agree(first, dataclasses.replace(first, edits=("add",)))
    with pytest.raises(ValueError, match="two judges or more, got 1"):
        agree(first)


def test_scores_are_in_the_order_of_the_columns_asked_for():
    targets = ("edema", "sex", "view")
    judge = Classifier(network=None, temperature=None, shift=None, thresholds=None, targets=targets, size=8)
    logits = np.arange(6.0).reshape(2, 3)
    found = Prediction(logits=logits, age=np.array([40.0, 50.0]), features=np.zeros((2, 1)))
    columns = ("view", AGE, "edema")
    scores = judges.scores(judge, columns, found)
    np.testing.assert_array_equal(scores, [[2, 40, 0], [5, 50, 3]])
    np.testing.assert_allclose(judges.probabilities(scores, columns)[:, 1], [40, 50])
    np.testing.assert_allclose(judges.probabilities(scores, columns)[:, [0, 2]], expit(scores[:, [0, 2]]))


SPECIFICITY, SENSITIVITY = 0.85, 0.75


def read(rng, true: np.ndarray) -> np.ndarray:
    """What the judge sees in images with and without the attribute."""
    return rng.random(len(true)) < np.where(true, SENSITIVITY, 1 - SPECIFICITY)


def simulated(rng, before: float, after: float, images: int = 200) -> CorrectedChange:
    """An edit that changes the prevalence, and 300 labelled images."""
    labels = rng.random(300) < 0.5
    return corrected_change(
        before=read(rng, rng.random(images) < before),
        after=read(rng, rng.random(images) < after),
        patients=np.arange(images),
        labels=labels,
        judged=read(rng, labels),
        label_patients=np.arange(300),
        config=CONFIG,
    )


def test_the_adjusted_change_holds_the_truth_where_the_seen_one_is_too_small():
    rng, runs = np.random.default_rng(0), 120
    found = [simulated(rng, 0.7, 0.2) for _ in range(runs)]
    held = np.mean([one.corrected.low <= -0.5 <= one.corrected.high for one in found])
    assert held == pytest.approx(0.955, abs=0.06)
    assert np.mean([one.apparent.value for one in found]) == pytest.approx(-0.5 * 0.6, abs=0.02)
    assert {one.corrected.count for one in found} == {200}


def test_the_correction_is_that_of_rogan_and_gladen():
    true = np.repeat([True, False], 20)
    judged = np.where(np.arange(40) % 10 < 2, ~true, true)  # sensitivity and specificity are 0.8
    images = dict(before=np.repeat([True, False], [12, 8]), after=np.zeros(20, bool), patients=np.arange(20))
    found = corrected_change(**images, labels=true, judged=judged, label_patients=np.arange(40), config=CONFIG)
    assert found.apparent.value == pytest.approx(-0.6)
    assert found.corrected.value == pytest.approx(-0.6 / (0.8 + 0.8 - 1))
    assert found.corrected.low < found.corrected.value < found.corrected.high


def test_a_judge_no_better_than_chance_and_too_few_labels_are_refused():
    true, images = np.arange(40) % 2 == 1, dict(before=np.array([False, True]), after=np.ones(2, bool), patients=[0, 1])
    with pytest.raises(ValueError, match=r"no better than chance .* sum to 0\.00"):
        corrected_change(**images, labels=true, judged=~true, label_patients=np.arange(40))
    with pytest.raises(ValueError, match="images with the attribute are of 1 patients; 10 are needed"):
        corrected_change(**images, labels=true, judged=true, label_patients=np.where(true, 99, np.arange(40)))
