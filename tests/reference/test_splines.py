"""Rational splines of the published flows."""

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from prism_jax.scm import splines
from tests.jit.test_splines import TRACED, forward, inverse

PUBLISHED = {"widths": "widths", "heights": "heights", "slopes": "derivatives", "splits": "lambdas"}


def raw_of(trace, stem):
    """Unconstrained parameters below `stem` under our names."""
    names = {ours: f"{stem}unnormalized_{theirs}" for ours, theirs in PUBLISHED.items()}
    return {ours: jnp.asarray(trace[name][0]) for ours, name in names.items() if name in trace}


@pytest.mark.parametrize("name", TRACED)
def test_splines_agree_with_the_published_flows(reference, name):
    trace = load_file(reference / "scm" / "traces" / "flows.safetensors")
    knots = splines.normalised(raw_of(trace, f"{name}/params/"), TRACED[name])
    column = lambda what: trace[f"{name}/{what}"][:, 0]
    y, log_slope = forward(knots, jnp.asarray(column("in/x")))
    back, log_inverse = inverse(knots, jnp.asarray(column("out/y")))
    np.testing.assert_allclose(y, column("out/y"), rtol=3e-4, atol=1e-5)
    np.testing.assert_allclose(back, column("out/x_roundtrip"), rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(log_slope, column("out/logdet"), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(log_inverse, column("out/logdet_inv"), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(inverse(knots, y)[0], column("in/x"), atol=1e-5)
