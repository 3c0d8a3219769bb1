"""An edit's side effect compared with the association in the data: known, amplified, hidden, not shown or undecided."""

import dataclasses

import numpy as np
import pytest

from prism_jax.data_report.pairwise_associations import measure_all
from prism_jax.data_report.relations import relate, slope
from prism_jax.data_report.variables import Variable
from prism_jax.stats.intervals import Estimate


def association(link: float, images: int = 4000):
    rng = np.random.default_rng(0)
    a = (rng.random(images) < 0.3).astype(float)
    b = (rng.random(images) < 0.1 + link * a).astype(float)
    variables = [Variable(name=name, kind="finding", values=values) for name, values in (("Heart A", a), ("B", b))]
    covariates = {"view": np.zeros((images, 0)), "age": rng.normal(size=(images, 2)), "sex": np.zeros((images, 1))}
    return measure_all(variables, covariates, np.arange(images))[0]


def model(value: float, half: float = 0.1) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, count=100)


@pytest.fixture(scope="module")
def linked():
    return association(0.4)


def test_the_slope_in_the_data_is_the_risk_difference_and_its_inverse_the_other_way(linked):
    found = slope(linked, "heart a")
    assert found.low < 0.4 < found.high
    other = slope(linked, "B")
    assert found.value * other.value == pytest.approx(linked.adjusted.value**2)
    with pytest.raises(ValueError, match="is not in the association"):
        slope(linked, "C")


@pytest.mark.parametrize(
    ("verdict", "value", "kind"),
    [
        ("effect", 0.4, "known"),
        ("effect", 0.1, "known"),
        ("effect", 0.8, "amplified"),
        ("negligible effect", 0.45, "known"),
        ("effect", -0.4, "hidden"),
        ("no effect", 0.0, "not shown"),
        ("inconclusive", 0.4, "undecided"),
        ("insufficient data", 0.4, "undecided"),
        ("effect", float("nan"), "undecided"),
    ],
)
def test_a_linked_attribute_is_classed_by_verdict_and_slope(linked, verdict, value, kind):
    assert relate(verdict, model(value), linked, target="Heart A").kind == kind


def test_the_excess_of_an_amplified_link_has_an_interval_above_zero(linked):
    found = relate("effect", model(0.8), linked, target="Heart A")
    assert 0 < found.excess.low < found.excess.value < found.excess.high
    assert found.excess.value == pytest.approx(0.8 - found.data.value)


def test_what_the_data_do_not_have_is_hidden():
    assert relate("effect", model(0.4), None, target="Heart A").kind == "hidden"
    assert relate("effect", model(0.4), association(0.0), target="Heart A").kind == "hidden"


def test_too_few_images_decide_nothing(linked):
    few = dataclasses.replace(association(0.4, images=15), reason="B: 2 patients with it")
    assert relate("effect", model(0.4), few, target="Heart A").kind == "undecided"
