"""Output heads of the hierarchical VAE: the distribution of pixels given the last state."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct

from prism_jax.models.hvae_blocks import Bias, conv
from prism_jax.models.hvae_config import HVAEConfig

FLOOR = -9.0  # least log-scale of the Gaussian heads


@struct.dataclass
class Pixels:
    """Parameters of a Gaussian head, float32 `[b, h, w, c]`; `coefficients` [b, h, w, 3] in (-1, 1) for RGB."""

    loc: jax.Array
    log_scale: jax.Array
    coefficients: jax.Array | None = None


class GaussianHead(nnx.Module):
    """Location and log-scale of every pixel, before the locations of RGB channels are mixed."""

    def __init__(self, config: HVAEConfig, *, rngs: nnx.Rngs):
        options = dict(dtype=jnp.float32, rngs=rngs)
        width, channels = config.widths[0], config.channels
        self.start = float(np.log(config.scale_init)) if config.scale_init else 0.0
        self.loc = conv(width, channels, 1, **options)
        self.log_scale = _log_scale(config, self.start, rngs)
        self.coefficients = conv(width, 3, 1, **options) if channels == 3 else None

    def __call__(self, h: jax.Array) -> Pixels:
        """Of the last state `[b, h, w, width]`."""
        h = h.astype(jnp.float32)
        loc = self.loc(h)
        mixing = None if self.coefficients is None else jnp.tanh(self.coefficients(h))
        return Pixels(loc=loc, log_scale=jnp.maximum(self._log_scale(h, loc), FLOOR), coefficients=mixing)

    def _log_scale(self, h: jax.Array, loc: jax.Array) -> jax.Array:
        if self.log_scale is None:
            return jnp.full_like(loc, self.start)
        return self.log_scale(loc) if isinstance(self.log_scale, Bias) else self.log_scale(h)


def _log_scale(config: HVAEConfig, start: float, rngs: nnx.Rngs) -> nnx.Conv | Bias | None:
    """The layer that gives the log-scale; None where it is fixed."""
    if config.scale != "diagonal":
        return Bias((config.channels,), start) if config.scale == "shared" else None
    gain = 0.0 if config.scale_init else 1.0
    layer = conv(config.widths[0], config.channels, 1, gain=gain, dtype=jnp.float32, rngs=rngs)
    layer.bias = nnx.Param(jnp.full(config.channels, start, jnp.float32))
    return layer


class MixtureHead(nnx.Module):
    """Parameters `[b, h, w, 10 k]` of a mixture of k discretised logistics (Salimans et al. 2017)."""

    def __init__(self, config: HVAEConfig, *, rngs: nnx.Rngs):
        self.parameters = conv(config.widths[0], 10 * config.mixtures, 1, dtype=jnp.float32, rngs=rngs)

    def __call__(self, h: jax.Array) -> jax.Array:
        return self.parameters(h.astype(jnp.float32))
