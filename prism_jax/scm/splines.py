"""Monotone linear-rational splines of [-bound, bound], closed form both ways.

Dolatabadi, Erfani, Leckie 2020 (arXiv 2001.05168), with the normalisation of Pyro's `Spline`. Inside a bin everything
is measured from its lower knot: this keeps the digits that the published form loses by weighing knots' heights.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import struct

MIN_BIN = 1e-3  # least width and height of a bin, as a fraction of the range
MIN_SLOPE = 1e-3
END_SLOPE = 1 - MIN_SLOPE  # at the bounds; slope 1 outside: as published


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplineConfig:
    """Number of bins and half width of the range."""

    bins: int = 8
    bound: float = 3.0

    def __post_init__(self) -> None:
        if not 1 <= self.bins < 1 / MIN_BIN or self.bound <= 0:
            raise ValueError(f"a spline of {self.bins} bins up to {self.bound}; use 1 to 999 bins and a bound above 0")


@struct.dataclass
class Knots:
    """A normalised spline of k bins."""

    x: jax.Array  # [k + 1] rising from -bound to bound
    y: jax.Array  # [k + 1] likewise
    slope: jax.Array  # [k + 1] positive
    split: jax.Array  # [k] in (0, 1): where the two pieces of a bin meet


def init(config: SplineConfig, key: jax.Array) -> dict[str, jax.Array]:
    """Unconstrained parameters: `widths`, `heights` [k], `slopes` [k - 1], `splits` [k]; near the identity."""
    k = config.bins
    draw = lambda name, count: 0.01 * jax.random.normal(jax.random.fold_in(key, name), (count,))
    # softplus(0.54) is slope 1.
    return {"widths": draw(0, k), "heights": draw(1, k), "slopes": 0.54 + draw(2, k - 1), "splits": draw(3, k)}


def normalised(raw: Mapping[str, jax.Array], config: SplineConfig) -> Knots:
    """The spline of unconstrained parameters."""
    ends = jnp.full(1, END_SLOPE)
    slope = jnp.concatenate([ends, jax.nn.softplus(raw["slopes"]) + MIN_SLOPE, ends])
    split = 0.025 + 0.95 * jax.nn.sigmoid(raw["splits"])
    return Knots(x=_edges(raw["widths"], config), y=_edges(raw["heights"], config), slope=slope, split=split)


def _edges(raw: jax.Array, config: SplineConfig) -> jax.Array:
    """Knots [k + 1] on one axis; the outer two are the bounds exactly."""
    fractions = MIN_BIN + (1 - MIN_BIN * config.bins) * jax.nn.softmax(raw)
    inner = config.bound * (2 * jnp.cumsum(fractions)[:-1] - 1)
    return jnp.concatenate([jnp.full(1, -config.bound), inner, jnp.full(1, config.bound)])


def forward(knots: Knots, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The spline at `x`, any shape, and log dy/dx there; the identity outside the bounds."""
    inside, x_in = _within(x, knots)
    at = _bin(knots.x, x_in)
    theta = (x_in - knots.x[at]) / (knots.x[at + 1] - knots.x[at])
    rise, slope = _linear(_pieces(knots, at), theta)
    return jnp.where(inside, knots.y[at] + rise, x), jnp.where(inside, jnp.log(slope), 0.0)


def inverse(knots: Knots, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The x whose spline is `y`, any shape, and log dx/dy there."""
    inside, y_in = _within(y, knots)
    at = _bin(knots.y, y_in)
    pieces = _pieces(knots, at)
    theta = _theta_linear(pieces, y_in - knots.y[at])
    _, slope = _linear(pieces, theta)
    x = knots.x[at] + theta * (knots.x[at + 1] - knots.x[at])
    return jnp.where(inside, x, y), jnp.where(inside, -jnp.log(slope), 0.0)


def _within(values: jax.Array, knots: Knots) -> tuple[jax.Array, jax.Array]:
    # Values outside are clipped before the computation: `where` alone would let a NaN into the gradient.
    bound = knots.x[-1]
    return jnp.abs(values) <= bound, jnp.clip(values, -bound, bound)


def _bin(edges: jax.Array, values: jax.Array) -> jax.Array:
    """Index of the bin of each value."""
    return jnp.sum(values[..., None] >= jnp.expand_dims(edges[1:-1], range(values.ndim)), axis=-1)


def _pieces(knots: Knots, at: jax.Array) -> dict[str, jax.Array]:
    """Of the bins `at`: width, height, slopes at both ends, and where the pieces meet."""
    return {
        "width": knots.x[at + 1] - knots.x[at],
        "height": knots.y[at + 1] - knots.y[at],
        "d0": knots.slope[at],
        "d1": knots.slope[at + 1],
        "split": knots.split[at],
    }


def _weights(p: dict[str, jax.Array]) -> tuple[jax.Array, ...]:
    """Weights of the middle and upper knot (the lower has 1), and the rise of y up to and from the middle."""
    lam, mean_slope = p["split"], p["height"] / p["width"]
    upper = jnp.sqrt(p["d0"] / p["d1"])
    middle = (lam * p["d0"] + (1 - lam) * upper * p["d1"]) / mean_slope
    mix = (1 - lam) + lam * upper
    return middle, upper, p["height"] * lam * upper / mix, p["height"] * (1 - lam) / mix


def _linear(p: dict[str, jax.Array], theta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rise of y over the lower knot, and dy/dx, at `theta` in [0, 1]: two quotients of lines that meet at the split."""
    lam = p["split"]
    middle, upper, before, after = _weights(p)
    is_first = theta <= lam
    bottom = jnp.where(is_first, lam - theta + middle * theta, middle * (1 - theta) + upper * (theta - lam))
    rise = jnp.where(is_first, middle * before * theta / bottom, before + upper * after * (theta - lam) / bottom)
    top = jnp.where(is_first, middle * lam * before, middle * upper * (1 - lam) * after)
    return rise, top / p["width"] / bottom**2


def _theta_linear(p: dict[str, jax.Array], rise: jax.Array) -> jax.Array:
    lam = p["split"]
    middle, upper, before, after = _weights(p)
    is_first = rise <= before
    rest = jnp.where(is_first, after, rise - before)  # any value of the piece where unused
    rise = jnp.where(is_first, rise, before)
    first = lam * rise / (rise + middle * (before - rise))
    second = lam + middle * (1 - lam) * rest / (upper * (after - rest) + middle * rest)
    return jnp.where(is_first, first, second)
