"""Negative ELBO of the image mechanism, in nats per dimension (pixels times channels)."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from prism_jax.models.hvae import HVAE, Descent
from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.scm import likelihoods


@dataclasses.dataclass(frozen=True, kw_only=True)
class NegativeELBO:
    """nll + beta * KL."""

    beta: float = 1.0
    warmup: int = 0
    """Updates over which beta rises linearly from 0; 0: no warm-up."""
    free_bits: float = 0.0
    """Nats per latent channel, averaged over the batch, below which the KL is not penalised."""
    dropped_from: int | None = None
    """Index from which parents are dropped from the conditional prior in a third of all batches."""
    parents_only: bool = False
    """Fix latents at the prior's mean, so that only the effect of the parents is learned, to initialise another
    training."""

    def __post_init__(self) -> None:
        if self.beta < 0 or self.warmup < 0 or self.free_bits < 0:
            raise ValueError(
                f"beta {self.beta}, beta warmup {self.warmup}, free_bits {self.free_bits}; use numbers from 0 up"
            )

    def beta_at(self, update: jax.Array) -> jax.Array:
        """beta at this update."""
        return self.beta * jnp.minimum(1.0, (update + 1) / self.warmup) if self.warmup else jnp.float32(self.beta)


def draw(config: HVAEConfig, keys: jax.Array) -> tuple[jax.Array, ...]:
    """Standard normal noise for every latent, each [b, r, r, z_dim], from one key per image [b]."""
    drawn = []
    for shape, equal in itertools.groupby(config.latent_shapes):  # latents of one shape together: one compiled body
        one = lambda i, key, shape=shape: jax.random.normal(jax.random.fold_in(key, i), shape)
        count = len(list(equal))
        indices = jnp.arange(len(drawn), len(drawn) + count)
        stacked = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(indices, keys)  # [count, b, r, r, z_dim]
        drawn += [jax.lax.index_in_dim(stacked, i, keepdims=False) for i in range(count)]
    return tuple(drawn)


def dequantised(config: HVAEConfig, keys: jax.Array, x: jax.Array) -> jax.Array | None:
    """Uniform noise as `x`, for the likelihood that needs it; one key per image [b]."""
    if config.likelihood != "logit":
        return None
    return jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, len(config.levels)), x.shape[1:]))(keys)


def negative_log_likelihood(model: HVAE, state: jax.Array, x: jax.Array, uniform: jax.Array | None = None) -> jax.Array:
    """Nats per dimension [b] of images `x` [b, h, w, c] given the last state; `uniform` as `x`, for "logit" alone."""
    pixels, likelihood = model.head(state), model.config.likelihood
    if likelihood == "mixture":
        return -likelihoods.logistic_mixture(x, pixels).mean((1, 2)) / 3
    loc = likelihoods.mixed(pixels, x)
    if likelihood == "logit":
        return -likelihoods.logit_gaussian(x, uniform, loc, pixels.log_scale).mean((1, 2, 3))
    return -likelihoods.discretised_gaussian(x, loc, pixels.log_scale).mean((1, 2, 3))


def divergence(descent: Descent, size: int, free_bits: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """KL in nats per dimension: of each image [b], and of the batch with free bits []; `size`: numbers in an image."""
    levels = [
        likelihoods.gaussian_kl(q, p).sum((1, 2))  # [b, z]
        for q, p in zip(descent.posteriors, descent.priors, strict=True)
    ]
    each = sum(level.sum(1) for level in levels) / size
    if not free_bits:
        return each, each.mean()
    return each, sum(jnp.maximum(level.mean(0), free_bits).sum() for level in levels) / size


def negative_elbo(
    model: HVAE,
    x: jax.Array,
    parents: jax.Array,
    noise: Sequence[jax.Array],
    *,
    config: NegativeELBO,
    beta: jax.Array | float,
    prior_parents: jax.Array | None = None,
    uniform: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss [] of a batch, and "nll" and "kl" (without free bits) of it; arguments as of `HVAE.infer`."""
    if config.parents_only:
        state = model.sample(parents, noise, temperature=0.0).state
        nll = negative_log_likelihood(model, state, x, uniform).mean()
        return nll, {"nll": nll, "kl": jnp.zeros(())}
    descent = model.infer(x, parents, noise, prior_parents=prior_parents)
    nll = negative_log_likelihood(model, descent.state, x, uniform).mean()
    each, kl = divergence(descent, math.prod(x.shape[1:]), config.free_bits)
    return nll + beta * kl, {"nll": nll, "kl": each.mean()}


def dropped(parents: jax.Array, key: jax.Array, first: int) -> jax.Array:
    """Parents given to the conditional prior in training: in one of three batches those from index `first` on are
    dropped.

    The published code has three modes of equal chance, of which two change nothing.
    """
    hidden = jnp.arange(parents.shape[1]) >= first
    is_dropped = jax.random.randint(key, (), 0, 3) == 0
    return jnp.where(is_dropped & hidden[None], 0.0, parents)
