"""Two judges together, and one judge with its errors taken out."""

import dataclasses

import numpy as np
import pytest
from scipy.special import expit

from prism_jax.classifier import Classifier, Prediction
from prism_jax.evaluation import judges
from prism_jax.evaluation.edited_cohort import AGE
from prism_jax.stats.consensus import agree
from prism_jax.stats.effects import EffectConfig, Row, measure
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.stats.misclassification import JudgedEdits, LabelledImages, corrected_change
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


def read(rng, true: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """What a judge with this confusion [judged, true] sees."""
    return (rng.random(len(true))[:, None] > np.cumsum(confusion[:, true].T, axis=1)).sum(axis=1)


def simulated(rng, confusion: np.ndarray, before: np.ndarray, after: np.ndarray, images: int = 200):
    classes = len(confusion)
    truth = [rng.choice(classes, images, p=shares) for shares in (before, after)]
    seen = JudgedEdits(
        before=read(rng, truth[0], confusion), after=read(rng, truth[1], confusion), patients=np.arange(images)
    )
    labels = rng.integers(classes, size=300)
    labelled = LabelledImages(true=labels, judged=read(rng, labels, confusion), patients=np.arange(300))
    return corrected_change(seen, labelled, classes=classes, config=CONFIG)


def test_the_adjusted_change_holds_the_truth_where_the_seen_one_is_too_small():
    rng, runs = np.random.default_rng(0), 120
    confusion = np.array([[0.85, 0.25], [0.15, 0.75]])
    found = [simulated(rng, confusion, np.array([0.3, 0.7]), np.array([0.8, 0.2])) for _ in range(runs)]
    held = np.mean([one.corrected[1].low <= -0.5 <= one.corrected[1].high for one in found])
    assert held == pytest.approx(0.955, abs=0.06)
    assert np.mean([one.apparent[1].value for one in found]) == pytest.approx(-0.5 * 0.6, abs=0.02)
    assert found[0].corrected[0].value == pytest.approx(-found[0].corrected[1].value)


def test_the_two_class_case_is_rogan_and_gladen():
    found = simulated(np.random.default_rng(1), np.array([[0.9, 0.2], [0.1, 0.8]]), np.array([0.5, 0.5]), np.eye(2)[0])
    (specificity, _), (_, sensitivity) = found.confusion
    assert found.corrected[1].value == pytest.approx(found.apparent[1].value / (sensitivity + specificity - 1))


def test_a_judge_of_b_that_is_swayed_by_a_is_put_right_by_the_joint_classes():
    # Classes: neither, A, B, both. A is read well; B is seen in half of the images with A alone.
    confusion = np.eye(4)
    confusion[:, 1] = [0, 0.5, 0, 0.5]
    before, after = np.array([0, 1.0, 0, 0]), np.array([1.0, 0, 0, 0])  # A removed, B never there
    found = simulated(np.random.default_rng(2), confusion, before, after)
    assert found.apparent[3].high < -0.3  # it looks as if B went too
    assert found.corrected[3].low < 0 < found.corrected[3].high
    assert found.corrected[1].low < -1 < found.corrected[1].high


def test_a_judge_no_better_than_chance_and_too_few_labels_are_refused():
    seen = JudgedEdits(before=np.array([0, 1]), after=np.array([1, 1]), patients=np.arange(2))
    true = np.arange(40) % 2
    with pytest.raises(ValueError, match="no better than chance"):
        corrected_change(seen, LabelledImages(true=true, judged=1 - true, patients=np.arange(40)))
    with pytest.raises(ValueError, match="class 1 has labelled images of 1 patients"):
        corrected_change(seen, LabelledImages(true=true, judged=true, patients=np.where(true, 99, np.arange(40))))
    with pytest.raises(ValueError, match="classes must be 0 to 1"):
        corrected_change(
            dataclasses.replace(seen, after=np.array([2, 0])), LabelledImages(true=true, judged=true, patients=true)
        )
