"""Rational splines invert themselves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.scm import splines
from prism_jax.scm.splines import SplineConfig

TRACED = {
    "spline_linear4": SplineConfig(bins=4),
    "spline_linear8": SplineConfig(bins=8),
}
forward, inverse = jax.jit(splines.forward), jax.jit(splines.inverse)
POINTS = 80  # as in the traces, so that a program serves both


@pytest.fixture(scope="module", params=["spline_linear4"])
def drawn(request):
    """A spline of moderate slopes."""
    draw, config = np.random.default_rng(0), TRACED[request.param]
    counts = {"widths": config.bins, "heights": config.bins, "slopes": config.bins - 1, "splits": config.bins}
    return splines.normalised({name: 0.7 * draw.normal(size=count) for name, count in counts.items()}, config)


def test_a_spline_is_undone_both_ways(drawn):
    x = np.linspace(-4, 4, POINTS, dtype=np.float32)
    there, _ = forward(drawn, x)
    back, _ = inverse(drawn, x)
    np.testing.assert_allclose(inverse(drawn, there)[0], x, atol=1e-5)
    np.testing.assert_allclose(forward(drawn, back)[0], x, atol=1e-5)


def test_a_spline_rises_and_is_the_identity_outside(drawn):
    x = np.linspace(-5, 5, POINTS, dtype=np.float32)
    y, _ = forward(drawn, x)
    assert (np.diff(y) > 0).all()
    outside = np.abs(x) > 3
    np.testing.assert_array_equal(np.asarray(y)[outside], x[outside])


def test_log_slopes_are_the_derivative_both_ways_and_gradients_are_finite_everywhere(drawn):
    x = np.append(np.linspace(-2.47, 2.48, POINTS - 4), [1e6, -50.0, 3.0, -3.0]).astype(np.float32)
    for curve in (splines.forward, splines.inverse):
        total = lambda knots, x, curve=curve: jnp.sum(curve(knots, x)[0])
        (by_knot, slope), (_, log_slope) = jax.jit(lambda k, x, f=total, c=curve: (jax.grad(f, (0, 1))(k, x), c(k, x)))(
            drawn, x
        )
        np.testing.assert_allclose(np.log(slope[:-4]), log_slope[:-4], atol=2e-4)
        assert all(jnp.isfinite(leaf).all() for leaf in (slope, *jax.tree.leaves(by_knot)))


def test_impossible_splines_are_refused():
    with pytest.raises(ValueError, match="0 bins"):
        dataclasses.replace(SplineConfig(), bins=0)
