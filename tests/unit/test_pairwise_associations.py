"""Pairwise associations: those planted in the phantom are significant, and no others."""

import dataclasses

import jax
import numpy as np
import pytest

from prism_jax.data import phantom
from prism_jax.data.phantom import equations
from prism_jax.data.schema import Attributes
from prism_jax.data.sources import phantom as sources_phantom
from prism_jax.data_report import pairwise_associations, variables
from prism_jax.data_report.survey import SurveyConfig
from tests import interventions

SUBJECTS = 2000


def of(attributes: list[Attributes], patients: np.ndarray | None = None, **config) -> dict:
    """The associations of images with these attributes, by pair of names."""
    columns = variables.variables(attributes, None, SurveyConfig().code)
    adjusters = variables.covariates(attributes, min_images=10)
    patients = np.arange(len(attributes)) if patients is None else patients
    found = pairwise_associations.measure_all(columns, adjusters, patients, **config)
    return {(one.first, one.second): one for one in found}


@pytest.fixture(scope="module")
def subjects():
    """Attributes of the phantom's first subjects under a preset; nothing is rendered."""

    @jax.jit  # one program for all presets
    def solve(values: dict) -> dict:
        equation = phantom.Equations(**values)
        of_subject = lambda index: interventions.attributes(equations.exogenous(0, index), equation)
        return jax.vmap(of_subject)(np.arange(SUBJECTS))

    def draw(preset: str) -> list[Attributes]:
        solved = solve(dataclasses.asdict(phantom.Equations.preset(preset)))
        values = {name: np.asarray(column) for name, column in solved.items()}
        return [
            sources_phantom.attributes_of({name: column[i] for name, column in values.items()}) for i in range(SUBJECTS)
        ]

    return draw


def test_the_strong_phantom_shows_its_planted_associations(subjects):
    found = of(subjects("strong"))
    planted = found["cardiomegaly", "pacemaker"]
    assert planted.is_significant
    assert planted.is_significant_adjusted
    assert planted.correlation.low > 0.7
    assert planted.odds_ratio.low > 50
    assert planted.adjusted_for == ("view", "age", "sex")
    assert found["effusion", "age"].is_significant_adjusted
    assert not found["sex M", "age"].is_significant


def test_the_phantom_without_arrows_shows_no_link(subjects):
    found = of(subjects("none"))
    assert len(found) == 21
    assert not any(one.is_significant or one.is_significant_adjusted or one.reason for one in found.values())
    assert found["cardiomegaly", "pacemaker"].correlation.low < 0 < found["cardiomegaly", "pacemaker"].correlation.high


def test_the_reversed_phantom_shows_the_link_with_its_sign(subjects):
    found = of(subjects("reversed"))["cardiomegaly", "pacemaker"]
    assert found.is_significant_adjusted
    assert found.adjusted.high < 0
    assert found.odds_ratio.high < 1


def test_a_link_that_age_makes_goes_away_when_age_is_adjusted_for():
    rng = np.random.default_rng(0)
    ages = rng.uniform(20, 90, 3000)
    chance = 1 / (1 + np.exp(-(ages - 55) / 10))
    attributes = [
        Attributes(age=age, sex="MF"[i % 2], findings={"a": bool(one), "b": bool(other)})
        for i, (age, one, other) in enumerate(zip(ages, *(rng.random((2, 3000)) < chance), strict=True))
    ]
    found = of(attributes)["a", "b"]
    assert found.is_significant
    assert found.adjusted_for == ("age", "sex")  # no view is known
    assert not found.is_significant_adjusted
    assert of(attributes, adjust=("sex",))["a", "b"].is_significant_adjusted


def test_a_false_link_among_all_pairs_is_as_rare_as_stated():
    rng = np.random.default_rng(1)
    wrong, runs = 0, 60
    for _ in range(runs):
        sides = rng.random((150, 5)) < (0.5, 0.3, 0.2, 0.5, 0.4)
        attributes = [
            Attributes(
                age=rng.uniform(20, 90),
                sex="M" if row[3] else "F",
                view="AP" if row[4] else "PA",
                findings=dict(zip("abc", row[:3].tolist(), strict=True)),
            )
            for row in sides
        ]
        found = of(attributes).values()
        wrong += any(one.is_significant for one in found) + any(one.is_significant_adjusted for one in found)
    assert wrong / (2 * runs) <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


@pytest.mark.parametrize(
    ("coding", "values"),
    [
        (SurveyConfig(), [1, 0, np.nan, np.nan]),
        (SurveyConfig(uncertain="present"), [1, 0, 1, np.nan]),
        (SurveyConfig(uncertain="absent", unmentioned="absent"), [1, 0, 0, 0]),
    ],
)
def test_uncertain_and_unmentioned_count_as_the_coding_says(coding, values):
    attributes = [Attributes(findings=findings) for findings in ({"a": True}, {"a": False}, {"a": None}, {})]
    assert [coding.code(one, "a") for one in attributes] == pytest.approx(values, nan_ok=True)


def test_views_and_sexes_that_exclude_each_other_are_not_compared():
    attributes = [Attributes(view=view, sex=sex) for view in ("AP", "PA", "AP Supine") for sex in ("M", "F")]
    columns = variables.variables(attributes, np.ones(6, bool), SurveyConfig().code)
    assert [one.name for one in columns] == ["view AP", "view AP Supine", "view PA", "sex M", "age", "burned-in text"]
    named = {(first.name, second.name) for first, second in pairwise_associations.pairs(columns)}
    assert ("view AP", "view PA") not in named
    assert ("view AP", "sex M") in named
    two = variables.variables(attributes[:4], None, SurveyConfig().code)
    assert [one.name for one in two] == ["view AP", "sex M", "age"]


def test_pairs_with_too_few_patients_are_reported_and_not_estimated():
    attributes = [Attributes(findings={"a": i < 9, "b": i % 2 == 0}) for i in range(60)]
    found = of(attributes)["a", "b"]
    assert found.reason == "a: 9 patients with it, 51 without; 10 of each are needed"
    assert found.cells == (5, 4, 25, 26)
    assert np.isnan([found.correlation.value, found.odds_ratio.value, found.p]).all()
    assert not of(attributes, min_patients=9)["a", "b"].reason
    one_patient = of(attributes, patients=np.zeros(60, int), min_patients=2)["a", "b"]
    assert "1 patients with it" in one_patient.reason


def test_what_is_mostly_unknown_is_not_adjusted_for():
    attributes = [
        Attributes(age=50.0 + i % 7 if i < 100 else None, sex="MF"[i % 2], findings={"a": i % 3 == 0, "b": i % 5 == 0})
        for i in range(300)
    ]
    found = of(attributes)["a", "b"]
    assert (found.adjusted_for, found.adjusted_images) == (("sex",), 300)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"level": 95}, "level must be between 0 and 1"),
        ({"min_patients": 1}, "min_patients must be at least 2"),
        ({"adjust": ("race",)}, "cannot adjust for race"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        SurveyConfig(**config)
