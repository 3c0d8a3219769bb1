"""Discrete attributes: the Gumbel-max mechanism and the exact posterior of its noise.

k = argmax_j(noise_j + logit_j(parents)), noise a vector of Gumbels (Oberst and Sontag 2019, arXiv 1905.05824). Given an
observed class the largest sum is a Gumbel at logsumexp(logits) and the others are Gumbels cut off there (Maddison,
Tarlow, Minka 2014, arXiv 1411.0030). The posterior in the published code of the deep SCM is another: a quarter of its
draws contradict the observation even under a null intervention.
"""

import dataclasses

import jax
import jax.numpy as jnp

from prism_jax.scm import perceptron
from prism_jax.scm.perceptron import Layers, PerceptronConfig

ROUNDING = 8 * jnp.finfo(jnp.float32).eps


@dataclasses.dataclass(frozen=True, kw_only=True)
class GumbelMax:
    """A class with probabilities softmax(logits(parents)); without parents a categorical or Bernoulli root.

    For two classes this compares one uniform with a probability: P(1 under do | 1) = min(1, p' / p).
    """

    logits: PerceptronConfig = PerceptronConfig()

    def init(self, key: jax.Array, inputs: int, classes: int) -> Layers:
        return perceptron.init(self.logits, key, inputs, classes)

    def log_prob(self, params: Layers, value: jax.Array, parents: jax.Array) -> jax.Array:
        """Log probability [b] of the classes int [b]."""
        logits = jax.nn.log_softmax(perceptron.apply(self.logits, params, parents))
        return jnp.take_along_axis(logits, value[:, None], axis=1)[:, 0]

    def draw(self, keys: jax.Array, classes: int) -> jax.Array:
        """Noise [b, classes], a draw for each of `keys` [b]."""
        return jax.vmap(lambda key: jax.random.gumbel(key, (classes,)))(keys)

    def predict(self, params: Layers, noise: jax.Array, parents: jax.Array) -> jax.Array:
        """The class int32 [b] that this noise gives."""
        return jnp.argmax(noise + perceptron.apply(self.logits, params, parents), axis=1).astype(jnp.int32)

    def abduct(self, params: Layers, value: jax.Array, parents: jax.Array, keys: jax.Array) -> jax.Array:
        """A draw of the noise [b, classes] given the observed class, for each of `keys` [b]."""
        logits = perceptron.apply(self.logits, params, parents)
        return posterior(logits, value, self.draw(keys, logits.shape[1]))


def posterior(logits: jax.Array, observed: jax.Array, gumbels: jax.Array) -> jax.Array:
    """Noise [b, k] under which `argmax(noise + logits)` is `observed` int [b], from fresh `gumbels` [b, k].

    The largest sum is T = g_k + logsumexp(logits); every other is -log(exp(-T) + exp(-(g_j + logit_j))) < T.
    """
    is_observed = jnp.arange(logits.shape[1])[None] == observed[:, None]
    largest = jnp.take_along_axis(gumbels, observed[:, None], axis=1) + jax.nn.logsumexp(logits, axis=1, keepdims=True)
    # -log(exp(-T) + exp(-s)) as a soft minimum: exponentials of large numbers never occur.
    others = -jnp.logaddexp(-largest, -(gumbels + logits))
    # A sum within rounding of the largest might overtake it when the logits are taken off and added again.
    margin = ROUNDING * (1 + jnp.abs(largest) + jnp.max(jnp.abs(logits), axis=1, keepdims=True))
    return jnp.where(is_observed, largest, jnp.minimum(others, largest - margin)) - logits
