"""The audit's promises, kept on simulated matrices: a hundred each time, thousands nightly."""

from collections.abc import Mapping

import pytest

from benchmarks import audit_calibration as calibration
from benchmarks.audit_calibration import Options, Rate, Scenario, simulate


def assert_kept(found: Mapping[str, Rate], scenario: Scenario, errors: float = 3.0):
    """Every promise, up to so many Monte Carlo errors."""
    below = lambda what, limit: found[what].value <= limit + errors * max(found[what].error, 1e-3)
    assert below("false discoveries", 0.05)
    # Signs of skewed changes are not as likely the one way as the other: docs/concepts/audit_statistics.md says so.
    assert below("any false cell, max-T", 0.07 if "skewed" in scenario.shape else 0.05)
    assert below("p ≤ 0.05 without effect", 0.05)
    if not scenario.is_null:
        assert below("called equal, on the margin", 0.05)
    for what in ("interval holds the effect", "interval holds it standardised"):
        assert found[what].value >= 0.93 - errors * found[what].error


@pytest.mark.parametrize(
    "scenario", [Scenario(patients=20), Scenario(patients=20, shape="heavy tails (t3)", is_null=True)], ids=str
)
def test_a_hundred_matrices_keep_the_promises(scenario):
    found = simulate(scenario, 100, Options(resamples=500, num_permutations=500))
    assert_kept(found, scenario)
    if not scenario.is_null:
        assert found["found, larger effects"].value > 0.7


@pytest.mark.nightly
@pytest.mark.parametrize("scenario", calibration.SCENARIOS, ids=str)
def test_thousands_of_matrices_keep_the_promises(scenario):
    found = simulate(scenario, 5000 // len(calibration.SCENARIOS), Options())
    assert_kept(found, scenario)


def test_the_table_has_a_line_for_each_scenario_and_one_of_nominal_rates():
    scenario = Scenario(patients=12, most=1)
    lines = calibration.table(
        {scenario: simulate(scenario, 2, Options(resamples=200, num_permutations=200))}
    ).splitlines()
    assert len(lines) == 4
    assert "at most 5" in lines[2]
