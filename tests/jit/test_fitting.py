"""Fitted mechanisms come close to the equations that made their data."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import rng
from prism_jax.data import phantom
from prism_jax.scm import graphs, phantom_truth
from prism_jax.scm.fitting import FitConfig, fit
from tests.interventions import attributes

nightly = pytest.mark.nightly

N = 20_000
EQUATIONS = phantom.Equations()
OLD = {"age": 80.0}


@pytest.fixture(scope="module")
def world():
    """Attributes of phantom subjects, and what they truly would be at 80 years."""

    @jax.jit
    def draw(numbers):
        noise = jax.vmap(partial(phantom.exogenous, 0))(numbers)
        return [attributes(noise, EQUATIONS, do) for do in ({}, OLD)]

    factual, older = draw(jnp.arange(2 * N))
    older = {name: jnp.broadcast_to(column, (2 * N,)) for name, column in older.items()}
    cut = lambda columns, part: {name: np.asarray(columns[name][part]) for name in graphs.phantom().names}
    return cut(factual, slice(0, N)), cut(factual, slice(N, None)), cut(older, slice(N, None))


@pytest.fixture(scope="module")
def fitted(world):
    return fit(graphs.phantom(), world[0], FitConfig(steps=400))[0]


@nightly
def test_the_likelihood_of_unseen_subjects_is_close_to_the_true_equations(world, fitted):
    _, unseen, _ = world
    ours, true = jax.jit(type(fitted).log_prob)(fitted, unseen), phantom_truth.log_prob(unseen, EQUATIONS)
    gaps = {name: float(np.mean(true[name]) - np.mean(ours[name])) for name in ours}
    assert max(gaps.values()) < 0.01, gaps
    assert min(gaps.values()) > -0.005, gaps  # nothing beats the truth but by chance


@nightly
def test_counterfactuals_flip_as_often_as_the_true_ones(world, fitted):
    _, factual, older = world
    keys = rng.per_example(rng.key(3), jnp.arange(N, dtype=jnp.uint32))
    result = jax.jit(lambda model, subjects: model.counterfactual(subjects, OLD, keys))(fitted, factual)
    for name in ("cardiomegaly", "effusion", "pacemaker", "support_lines", "view"):
        for before in (0, 1):
            among = factual[name] == before
            true, ours = older[name][among].mean(), np.asarray(result[name])[among].mean()
            assert abs(true - ours) < 0.03, (name, before, true, ours)
    np.testing.assert_array_equal(result["sex"], factual["sex"])


@nightly
def test_drawn_subjects_are_as_many_and_as_old_as_those_fitted(world, fitted):
    keys = rng.per_example(rng.key(5), jnp.arange(N, dtype=jnp.uint32))
    drawn = jax.jit(type(fitted).sample)(fitted, keys)
    for name, column in world[0].items():
        spread = max(column.std(), 1e-3)
        assert abs(np.mean(drawn[name]) - column.mean()) < 0.04 * spread, name
    assert (
        abs(
            np.corrcoef(drawn["age"], drawn["effusion"])[0, 1]
            - np.corrcoef(world[0]["age"], world[0]["effusion"])[0, 1]
        )
        < 0.03
    )


def test_a_fit_without_an_attribute_or_out_of_range_is_refused():
    with pytest.raises(ValueError, match="attributes lack age"):
        fit(graphs.mimic_cxr(), {"race": np.zeros(2)})
    with pytest.raises(ValueError, match="steps 0"):
        FitConfig(steps=0)
