"""Likelihoods of pixels under the image mechanism. Pixels lie in [-1, 1], 256 grey levels."""

import math

import jax
import jax.numpy as jnp

from prism_jax.models.hvae_blocks import Gaussian
from prism_jax.models.hvae_heads import Pixels

HALF_BIN = 1 / 255
EDGE = 0.999  # beyond it a pixel is black or white, and its bin has no outer end
LEAST = 1e-12  # probability of a pixel
MIXTURE_FLOOR = -7.0  # least log-scale of a logistic
LEAST_MASS = 1e-5  # of a logistic's bin, below which the density at its centre stands in for it


def gaussian_kl(q: Gaussian, p: Gaussian) -> jax.Array:
    """KL(q || p) in nats, element by element."""
    # exp(2 log s), not the square of exp(log s): the latter overflows first.
    second_moment = jnp.exp(2 * q.log_scale) + jnp.square(q.loc - p.loc)
    return p.log_scale - q.log_scale - 0.5 + 0.5 * second_moment * jnp.exp(-2 * p.log_scale)


def mixed(pixels: Pixels, observed: jax.Array | None = None) -> jax.Array:
    """Locations of RGB channels, each shifted by the channels before it; unchanged for other images.

    Args:
      observed: float32 [b, h, w, 3]; None: the predicted channels, each cut to [-1, 1], stand in.
    """
    if pixels.coefficients is None:
        return pixels.loc
    c = pixels.coefficients
    channel_of = lambda channel, predicted: predicted if observed is None else observed[..., channel]
    cut = (lambda v: jnp.clip(v, -1, 1)) if observed is None else (lambda v: v)
    red = cut(pixels.loc[..., 0])
    green = cut(pixels.loc[..., 1] + c[..., 0] * channel_of(0, red))
    blue = cut(pixels.loc[..., 2] + c[..., 1] * channel_of(0, red) + c[..., 2] * channel_of(1, green))
    return jnp.stack([red, green, blue], axis=-1)


def discretised_gaussian(x: jax.Array, loc: jax.Array, log_scale: jax.Array) -> jax.Array:
    """log P of each grey level `x` in [-1, 1]: the Gaussian's mass in a bin of two half widths."""
    inverse = jnp.exp(-log_scale)
    above = _cdf((x - loc + HALF_BIN) * inverse)
    below = _cdf((x - loc - HALF_BIN) * inverse)
    mass = jnp.where(x < -EDGE, above, jnp.where(x > EDGE, 1 - below, above - below))
    return jnp.log(jnp.maximum(mass, LEAST))


def logit_gaussian(x: jax.Array, uniform: jax.Array, loc: jax.Array, log_scale: jax.Array) -> jax.Array:
    """log density of y = logit((grey level + uniform) / 256), without the Jacobian of the logit.

    Not comparable with the other likelihoods, as published.
    """
    y = jax.scipy.special.logit((x * 127.5 + 127.5 + uniform) / 256)
    return jax.scipy.stats.norm.logpdf(y, loc, jnp.exp(log_scale))


def of_logit(y: jax.Array) -> jax.Array:
    """The pixel in [-1, 1] whose logit is y."""
    return 2 * jax.nn.sigmoid(y) - 1


def logistic_mixture(x: jax.Array, parameters: jax.Array) -> jax.Array:
    """log P [b, h, w] of RGB pixels under a mixture of k discretised logistics (Salimans et al. 2017).

    Args:
      x: float32 [b, h, w, 3].
      parameters: float32 [b, h, w, 10 k], as `split_mixture` reads them.
    """
    logits, means, log_scales, c = split_mixture(parameters)
    observed = jnp.broadcast_to(x[..., None], means.shape)  # [b, h, w, 3, k]
    green = means[..., 1, :] + c[..., 0, :] * observed[..., 0, :]
    blue = means[..., 2, :] + c[..., 1, :] * observed[..., 0, :] + c[..., 2, :] * observed[..., 1, :]
    centred = observed - jnp.stack([means[..., 0, :], green, blue], axis=-2)
    return jax.nn.logsumexp(_logistic(observed, centred, log_scales).sum(-2) + jax.nn.log_softmax(logits), axis=-1)


def mixture_mean(parameters: jax.Array, *, components: int | None = None) -> tuple[jax.Array, jax.Array]:
    """Point estimate in [-1, 1] and scale, both [b, h, w, 3], by the softmax over the likeliest `components`.

    None: over all of them ("soft"); 1: of the likeliest alone ("hard").
    """
    logits, means, log_scales, coefficients = split_mixture(parameters)
    if components is not None:
        least = jax.lax.top_k(logits, components)[0][..., -1:]
        logits = jnp.where(logits >= least, logits, -jnp.inf)
    average = lambda values: jnp.sum(values * jax.nn.softmax(logits)[..., None, :], axis=-1)
    log_scale = average(log_scales)
    pixels = Pixels(loc=average(means), log_scale=log_scale, coefficients=average(coefficients))
    return mixed(pixels), jnp.exp(log_scale)


def split_mixture(parameters: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Logits [b, h, w, k]; means, log-scales and mixing coefficients, each [b, h, w, 3, k]."""
    k = parameters.shape[-1] // 10
    rest = parameters[..., k:].reshape(*parameters.shape[:-1], 3, 3 * k)
    means, log_scales, coefficients = jnp.split(rest, 3, axis=-1)
    return parameters[..., :k], means, jnp.maximum(log_scales, MIXTURE_FLOOR), jnp.tanh(coefficients)


def _logistic(x: jax.Array, centred: jax.Array, log_scale: jax.Array) -> jax.Array:
    """log mass of a logistic's bin, channel by channel and component by component."""
    inverse = jnp.exp(-log_scale)
    above, below, middle = inverse * (centred + HALF_BIN), inverse * (centred - HALF_BIN), inverse * centred
    mass = jax.nn.sigmoid(above) - jax.nn.sigmoid(below)
    density = middle - log_scale - 2 * jax.nn.softplus(middle) - math.log(127.5)
    inside = jnp.where(mass > LEAST_MASS, jnp.log(jnp.maximum(mass, LEAST)), density)
    return jnp.where(x < -EDGE, jax.nn.log_sigmoid(above), jnp.where(x > EDGE, -jax.nn.softplus(below), inside))


def _cdf(v: jax.Array) -> jax.Array:
    """The tanh approximation of the normal distribution function."""
    return 0.5 * (1 + _tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))


@jax.custom_jvp
def _tanh(v: jax.Array) -> jax.Array:
    """tanh with its last digit right near 1, where XLA's is not: a bin far away has 6e-8 of the mass, or 0."""
    sign = jnp.where(v < 0, -1.0, 1.0)
    decayed = jnp.exp(-2 * sign * v)
    return sign * (1 - 2 * decayed / (1 + decayed))


@_tanh.defjvp
def _tanh_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    value = _tanh(*primals)
    return value, (1 - jnp.square(value)) * tangents[0]
