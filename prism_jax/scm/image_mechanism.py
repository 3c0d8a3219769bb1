"""Counterfactual images by abduction, action and prediction (arXiv 2306.15764, section 3).

With an exogenous prior the latents are noise, and `predict` gives the total effect. With a conditional prior the
latents are mediators: `predict` under the new parents gives the direct effect; after `mediate`, which changes the
latents, `predict` gives the total effect under the new parents and the indirect effect under the old ones.

t_u scales the pixel noise: with 1 the null intervention returns the image for any network, so composition is trivially
perfect; report t_u with every result.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import struct

from prism_jax.models.hvae import HVAE, Descent
from prism_jax.models.hvae_blocks import Gaussian
from prism_jax.scm import likelihoods
from prism_jax.scm.elbo import draw

Effect = Literal["total", "direct", "indirect"]
LEAST_SCALE = 1e-12


@struct.dataclass
class Noise:
    """Abducted noise, which is unchanged by the intervention."""

    latents: tuple[jax.Array, ...]  # float32 [b, r, r, z_dim], the smallest first
    pixels: jax.Array  # float32 [b, h, w, c], in scales of each pixel
    posteriors: tuple[Gaussian, ...]
    drawn: tuple[jax.Array, ...]  # the standard normal noise of the latents
    t_z: jax.Array  # [], the scale of that noise


@dataclasses.dataclass(frozen=True, kw_only=True)
class CounterfactualConfig:
    """Options of counterfactuals; the defaults are those of the published evaluation."""

    effect: Effect = "total"
    """Direct and indirect effects need a conditional prior."""
    t_z: float = 0.1
    """Scale of the latent noise."""
    t_u: float = 0.1
    """Scale of the abducted pixel noise that is added again."""
    alpha: float = 0.65
    """Weight of the posterior against the prior when latents are mediated (conditional prior)."""
    particles: int = 1
    """Number of posterior draws that are averaged."""

    def __post_init__(self) -> None:
        if self.effect not in get_args(Effect):
            raise ValueError(f"effect {self.effect!r} is not known; use one of {', '.join(get_args(Effect))}")
        if min(self.t_z, self.t_u) < 0 or not 0 <= self.alpha <= 1 or self.particles < 1:
            raise ValueError(
                f"counterfactual t_z {self.t_z}, t_u {self.t_u}, alpha {self.alpha}, particles {self.particles}; "
                "use temperatures from 0 up, alpha in [0, 1] and at least 1 particle"
            )


@struct.dataclass
class Counterfactual:
    """Mean and variance over particles; the variance is the uncertainty that remains given the parents."""

    images: jax.Array  # float32 [b, h, w, c] in [-1, 1]
    variance: jax.Array  # float32 [b, h, w, c], 0 for one particle


def counterfactual(
    model: HVAE,
    x: jax.Array,
    parents: jax.Array,
    changed: jax.Array,
    keys: jax.Array,
    *,
    config: CounterfactualConfig,
    t_u: float | jax.Array | None = None,
) -> Counterfactual:
    """Counterfactuals of images [b, h, w, c] in [-1, 1] with `parents` [b, p] under the parents `changed` [b, p].

    Args:
      keys: one per image [b].
      t_u: replaces the config's; may be traced, so that one compiled program serves several values.

    Raises:
      ValueError: a direct or indirect effect of a model without a conditional prior.
    """
    if config.effect != "total" and not model.config.conditional_prior:
        raise ValueError(f"effect {config.effect} needs a conditional prior, which this model lacks; use total")
    t_u = config.t_u if t_u is None else t_u

    def one(particle: jax.Array) -> jax.Array:
        own, other = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, particle)), out_axes=1)(keys)
        noise = abduct(model, x, parents, draw(model.config, own), config.t_z)
        if config.effect != "direct" and model.config.conditional_prior:
            noise = mediate(model, noise, changed, draw(model.config, other), alpha=config.alpha)
        return predict(model, noise, parents if config.effect == "indirect" else changed, t_u=t_u)

    return averaged(one, config.particles)


def abduct(model: HVAE, x: jax.Array, parents: jax.Array, drawn: Sequence[jax.Array], t_z: float | jax.Array) -> Noise:
    """Abduction: the noise of images [b, h, w, c] with `parents` [b, p]; `drawn` is the noise of the latents."""
    return left_over(model, model.infer(x, parents, drawn, temperature=t_z), x, drawn, t_z)


def left_over(model: HVAE, descent: Descent, x: jax.Array, drawn: Sequence[jax.Array], t_z: float | jax.Array) -> Noise:
    """The noise of `abduct`, from the posterior pass that inferred the latents of `x`."""
    loc, scale = point(model, descent.state)
    pixels = (x - loc) / jnp.maximum(scale, LEAST_SCALE)
    return Noise(
        latents=descent.latents,
        pixels=pixels,
        posteriors=descent.posteriors,
        drawn=tuple(drawn),
        t_z=jnp.asarray(t_z, jnp.float32),
    )


def predict(model: HVAE, noise: Noise, parents: jax.Array, *, t_u: float | jax.Array) -> jax.Array:
    """Prediction: images [b, h, w, c] in [-1, 1] of this noise under `parents` [b, p]."""
    loc, scale = point(model, model.decode(noise.latents, parents).state)
    return jnp.clip(loc + t_u * scale * noise.pixels, -1, 1)


def mediate(
    model: HVAE, noise: Noise, parents: jax.Array, drawn: Sequence[jax.Array], *, alpha: float | jax.Array
) -> Noise:
    """The noise with its latents changed to those under new parents [b, p]; the prior is sampled with `drawn`.

    The published code draws new latents at temperature 1; here the abducted latents are changed instead.

    Raises:
      ValueError: the prior is not conditional, so that latents do not mediate.
    """
    if not model.config.conditional_prior:
        raise ValueError("latents mediate only with a conditional prior; predict alone gives the total effect")
    priors = model.sample(parents, drawn, temperature=noise.t_z).priors
    between = [_between(q, p, alpha) for q, p in zip(noise.posteriors, priors, strict=True)]
    latents = tuple(each.at(e, noise.t_z) for each, e in zip(between, noise.drawn, strict=True))
    return noise.replace(latents=latents)


def point(model: HVAE, state: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The point estimate of pixels, clipped to [-1, 1], and their scale, both [b, h, w, c], from the decoder's last
    state."""
    pixels = model.head(state)
    if model.config.likelihood == "mixture":
        return likelihoods.mixture_mean(pixels)
    loc = likelihoods.mixed(pixels)
    if model.config.likelihood == "logit":
        loc = likelihoods.of_logit(loc)
    return jnp.clip(loc, -1, 1), jnp.exp(pixels.log_scale)


def averaged(draw_one: Callable[[jax.Array], jax.Array], particles: int) -> Counterfactual:
    """Mean and variance of `draw_one(0 .. particles - 1)`, one in memory at a time."""

    def add(sums: tuple[jax.Array, jax.Array], particle: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        image = draw_one(particle)
        return (sums[0] + image, sums[1] + jnp.square(image)), None

    zero = jnp.zeros(jax.eval_shape(draw_one, jnp.int32(0)).shape)
    (total, squares), _ = jax.lax.scan(add, (zero, zero), jnp.arange(particles))
    mean = total / particles
    variance = jnp.maximum(squares / particles - jnp.square(mean), 0) if particles > 1 else zero
    return Counterfactual(images=mean, variance=variance)


def _between(q: Gaussian, p: Gaussian, alpha: float | jax.Array) -> Gaussian:
    """Gaussian of alpha * posterior + (1 - alpha) * prior (arXiv 2306.15764, appendix on mediators)."""
    variance = jnp.square(alpha) * jnp.exp(2 * q.log_scale) + jnp.square(1 - alpha) * jnp.exp(2 * p.log_scale)
    return Gaussian(loc=alpha * q.loc + (1 - alpha) * p.loc, log_scale=0.5 * jnp.log(variance))
