"""Mechanisms of continuous attributes: invertible maps of standard normal noise, in the scaled unit [-1, 1].

A mechanism is value := f(parents, noise), with `parents` float32 [b, inputs] encoded and `value` [b]; noise is [b] here
and [b, classes] for discrete attributes (`gumbel.py`), which have the same five methods.
"""

import dataclasses

import jax
import jax.numpy as jnp

from prism_jax.scm import perceptron, splines
from prism_jax.scm.perceptron import Layers, PerceptronConfig
from prism_jax.scm.splines import SplineConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplineFlow:
    """value = Spline(noise), or 2 sigmoid(Spline(noise)) - 1 where it is squashed; it takes no parents."""

    spline: SplineConfig = SplineConfig()
    is_squashed: bool = False

    def init(self, key: jax.Array, inputs: int, classes: int) -> dict[str, jax.Array]:
        return splines.init(self.spline, key)

    def log_prob(self, params: dict[str, jax.Array], value: jax.Array, parents: jax.Array) -> jax.Array:
        """Log density [b] in the scaled unit."""
        opened, log_slope = _open(value) if self.is_squashed else (value, jnp.zeros_like(value))
        noise, log_inverse = splines.inverse(splines.normalised(params, self.spline), opened)
        return jax.scipy.stats.norm.logpdf(noise) + log_inverse - log_slope

    def draw(self, keys: jax.Array, classes: int) -> jax.Array:
        """Noise [b], a draw for each of `keys` [b]."""
        return jax.vmap(jax.random.normal)(keys)

    def predict(self, params: dict[str, jax.Array], noise: jax.Array, parents: jax.Array) -> jax.Array:
        """Values [b]."""
        value, _ = splines.forward(splines.normalised(params, self.spline), noise)
        return _squash(value) if self.is_squashed else value

    def abduct(self, params: dict[str, jax.Array], value: jax.Array, parents: jax.Array, keys: jax.Array) -> jax.Array:
        """The noise [b] that gave `value`, which is deterministic."""
        opened = _open(value)[0] if self.is_squashed else value
        return splines.inverse(splines.normalised(params, self.spline), opened)[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AffineFlow:
    """value = m(parents) + exp(l(parents)) noise, or 2 sigmoid(that) - 1 where it is squashed."""

    moments: PerceptronConfig = PerceptronConfig(hidden=(32, 32))
    is_squashed: bool = False

    def init(self, key: jax.Array, inputs: int, classes: int) -> Layers:
        return perceptron.init(self.moments, key, inputs, 2)

    def log_prob(self, params: Layers, value: jax.Array, parents: jax.Array) -> jax.Array:
        """Log density [b] in the scaled unit."""
        mean, log_scale = self._moments(params, parents)
        opened, log_slope = _open(value) if self.is_squashed else (value, jnp.zeros_like(value))
        noise = (opened - mean) * jnp.exp(-log_scale)
        return jax.scipy.stats.norm.logpdf(noise) - log_scale - log_slope

    def draw(self, keys: jax.Array, classes: int) -> jax.Array:
        """Noise [b], a draw for each of `keys` [b]."""
        return jax.vmap(jax.random.normal)(keys)

    def predict(self, params: Layers, noise: jax.Array, parents: jax.Array) -> jax.Array:
        """Values [b]."""
        mean, log_scale = self._moments(params, parents)
        value = mean + jnp.exp(log_scale) * noise
        return _squash(value) if self.is_squashed else value

    def abduct(self, params: Layers, value: jax.Array, parents: jax.Array, keys: jax.Array) -> jax.Array:
        """The noise [b] that gave `value`, which is deterministic."""
        mean, log_scale = self._moments(params, parents)
        return ((_open(value)[0] if self.is_squashed else value) - mean) * jnp.exp(-log_scale)

    def _moments(self, params: Layers, parents: jax.Array) -> tuple[jax.Array, jax.Array]:
        moments = perceptron.apply(self.moments, params, parents)
        return moments[:, 0], moments[:, 1]


def _squash(x: jax.Array) -> jax.Array:
    return 2 * jax.nn.sigmoid(x) - 1


def _open(value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The x with 2 sigmoid(x) - 1 = value, and the log of that map's slope there.

    The extremes of a training set are -1 and 1 exactly, where there is no such x: (value + 1) / 2 is clipped just
    inside 0 and 1.
    """
    float32 = jnp.finfo(jnp.float32)
    unit = jnp.clip((value + 1) / 2, float32.tiny, 1 - float32.eps)
    x = jnp.log(unit) - jnp.log1p(-unit)
    return x, jnp.log(2.0) + jax.nn.log_sigmoid(x) + jax.nn.log_sigmoid(-x)
