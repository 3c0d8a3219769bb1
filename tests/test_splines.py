"""Splines agree with the published flows, and undo themselves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from prism_jax.scm import splines
from prism_jax.scm.splines import SplineConfig

TRACED = {
    "spline_linear4": SplineConfig(bins=4),
    "spline_linear8": SplineConfig(bins=8),
    "spline_quadratic6": SplineConfig(bins=6, bound=2.5, order="quadratic"),
}
forward, inverse = jax.jit(splines.forward), jax.jit(splines.inverse)
PUBLISHED = {"widths": "widths", "heights": "heights", "slopes": "derivatives", "splits": "lambdas"}


def raw_of(trace, stem):
    """Unconstrained parameters below `stem` under our names."""
    names = {ours: f"{stem}unnormalized_{theirs}" for ours, theirs in PUBLISHED.items()}
    return {ours: jnp.asarray(trace[name][0]) for ours, name in names.items() if name in trace}


@pytest.fixture(scope="module", params=["linear", "quadratic"])
def drawn(request):
    """A spline of moderate slopes."""
    config = SplineConfig(bins=5, order=request.param)
    raw = splines.init(config, jax.random.key(0))
    key = jax.random.key(1)
    raw = {
        name: leaf + 0.7 * jax.random.normal(jax.random.fold_in(key, len(name)), leaf.shape)
        for name, leaf in raw.items()
    }
    return splines.normalised(raw, config)


@pytest.mark.shared
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


def test_a_spline_is_undone_both_ways(drawn):
    x = jnp.linspace(-4, 4, 801)
    there, _ = forward(drawn, x)
    back, _ = inverse(drawn, x)
    np.testing.assert_allclose(inverse(drawn, there)[0], x, atol=1e-5)
    np.testing.assert_allclose(forward(drawn, back)[0], x, atol=1e-5)


def test_a_spline_rises_and_is_the_identity_outside(drawn):
    x = jnp.linspace(-5, 5, 801)
    y, _ = forward(drawn, x)
    assert (jnp.diff(y) > 0).all()
    np.testing.assert_array_equal(y[jnp.abs(x) > 3], x[jnp.abs(x) > 3])


def test_log_slopes_are_the_derivative_both_ways(drawn):
    x = jnp.linspace(-2.97, 2.98, 801)
    for curve in (forward, inverse):
        _, slope = jax.jit(lambda v, curve=curve: jax.jvp(lambda u: curve(drawn, u)[0], (v,), (jnp.ones_like(v),)))(x)
        np.testing.assert_allclose(jnp.log(slope), curve(drawn, x)[1], atol=2e-4)


def test_gradients_are_finite_on_the_bounds_and_far_outside(drawn):
    def total(knots, x):
        return sum(jnp.sum(part) for part in splines.inverse(knots, x))

    x = jnp.linspace(-3, 3, 801).at[:3].set(jnp.array([1e6, -50.0, -3.0]))
    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))(drawn, x)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_impossible_splines_are_refused():
    with pytest.raises(ValueError, match="order 'cubic'"):
        SplineConfig(order="cubic")
    with pytest.raises(ValueError, match="0 bins"):
        dataclasses.replace(SplineConfig(), bins=0)
