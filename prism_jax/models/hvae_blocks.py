"""The blocks of the hierarchical VAE: residual units, and the decoder's step of prior, posterior and state."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct

from prism_jax.models.hvae_config import HVAEConfig, Level
from prism_jax.models.layers import Conv1x1, gelu


@struct.dataclass
class Gaussian:
    """A diagonal Gaussian, float32 `[b, r, r, c]`."""

    loc: jax.Array
    log_scale: jax.Array

    def at(self, noise: jax.Array, temperature: float | jax.Array) -> jax.Array:
        """loc + temperature * scale * noise."""
        return self.loc + temperature * jnp.exp(self.log_scale) * noise


def conv(inputs: int, outputs: int, kernel: int, *, gain: float = 1.0, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Conv:
    """A convolution of stride 1 with biases 0 and weights uniform in +-gain / sqrt(fan in)."""
    # Variance of that uniform: gain^2 / (3 fan in), and variance_scaling refuses a scale of 0.
    init = nnx.initializers.variance_scaling(gain**2 / 3, "fan_in", "uniform") if gain else nnx.initializers.zeros
    size, padding = (kernel, kernel), kernel // 2
    if kernel == 1:
        return Conv1x1(inputs, outputs, kernel_init=init, dtype=dtype, rngs=rngs)
    return nnx.Conv(inputs, outputs, size, padding=padding, kernel_init=init, dtype=dtype, rngs=rngs)


class Bias(nnx.Module):
    """A learned array that is the same for every image."""

    def __init__(self, shape: tuple[int, ...], value: float = 0.0):
        self.bias = nnx.Param(jnp.full(shape, value, jnp.float32))

    def __call__(self, like: jax.Array) -> jax.Array:
        """Repeated to the shape of `like`, in its dtype."""
        value = self.bias[...].astype(like.dtype)
        value = jnp.broadcast_to(value.reshape((1,) * (like.ndim - value.ndim) + value.shape), (1, *like.shape[1:]))
        # A product with ones: its gradient, a sum over the batch, is then a product too, and 50 times as fast on CPUs.
        return jnp.einsum("b,...->b...", jnp.ones(len(like), like.dtype), value[0], precision="highest")


class ParentMaps(nnx.Module):
    """A learned map `[r, r, c]` of each parent, 0 at the start."""

    def __init__(self, parents: int, resolution: int, width: int):
        self.maps = nnx.Param(jnp.zeros((parents, resolution, resolution, width), jnp.float32))

    def __call__(self, parents: jax.Array) -> jax.Array:
        """Their sum `[b, r, r, c]`, weighted by `parents` [b, p]."""
        return jnp.einsum("bp,prqc->brqc", parents, self.maps[...].astype(parents.dtype), precision="highest")


class Block(nnx.Module):
    """A chain of pre-activated convolutions, with a residual connection by default, then average pooling by `down`.

    "gelu": 1x1, kxk, kxk, 1x1 convolutions behind exact (erf) GELUs; "light": two kxk behind ReLUs. No normalisation.
    """

    def __init__(
        self,
        inputs: int,
        bottleneck: int,
        outputs: int,
        *,
        kernel: int,
        config: HVAEConfig,
        is_residual: bool = True,
        down: int = 1,
        gain: float = 1.0,
        rngs: nnx.Rngs,
    ):
        options = dict(dtype=config.dtype, rngs=rngs)
        kernels = (kernel, kernel) if config.block == "light" else (1, kernel, kernel, 1)
        sides = (inputs, *(bottleneck,) * (len(kernels) - 1), outputs)
        last = len(kernels) - 1
        self.convs = nnx.List(
            conv(sides[i], sides[i + 1], k, gain=gain if i == last else 1.0, **options) for i, k in enumerate(kernels)
        )
        self.projection = conv(inputs, outputs, 1, **options) if is_residual and inputs != outputs else None
        self.is_residual, self.is_light, self.down = is_residual, config.block == "light", down

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[b, r, r, inputs]` to `[b, r / down, r / down, outputs]`."""
        h = x
        for layer in self.convs:
            h = layer(jax.nn.relu(h) if self.is_light else gelu(h))
        if self.is_residual:
            h = h + (x if self.projection is None else self.projection(x))
        return pooled(h, self.down)


class DecoderBlock(nnx.Module):
    """One level of the decoder: p(z | ...), q(z | x, ...), and the state that both leave behind."""

    def __init__(self, level: Level, *, blocks: int, config: HVAEConfig, rngs: nnx.Rngs):
        width, z, parents = level.width, config.z_dim, config.parents
        gain, kernel = float(np.sqrt(1 / blocks)), 3 if level.resolution > 2 else 1
        inner = dict(kernel=kernel, config=config, rngs=rngs)
        narrow = width // config.bottleneck
        seen = width + (parents if config.conditional_prior else 0)
        around = dict(is_residual=False, **inner)
        # The last convolution starts at 0: the prior at N(0, 1).
        self.prior = Block(seen, narrow, 2 * z + width, gain=0.0, **around)
        self.posterior = Block(2 * width + parents, narrow, 2 * z, **around) if level.is_stochastic else None
        self.z_proj = conv(z + parents, width, 1, gain=gain, dtype=config.dtype, rngs=rngs)
        paths = dict(dtype=config.dtype, rngs=rngs)
        self.z_feat_proj = conv(z + width, level.next_width, 1, **paths) if level.feeds_prior else None
        self.conv = Block(width, narrow, level.next_width, gain=gain, **inner)
        self.z_dim = z

    def prior_of(self, inputs: jax.Array) -> tuple[Gaussian, jax.Array]:
        """p(z) and the features `[b, r, r, width]` that go with it."""
        out = self.prior(inputs)
        return gaussian(out[..., : 2 * self.z_dim]), out[..., 2 * self.z_dim :]

    def posterior_of(self, h: jax.Array, parents: jax.Array, skip: jax.Array) -> Gaussian:
        """q(z) given the state, the map of parents and the encoder's activation, all `[b, r, r, ...]`."""
        return gaussian(self.posterior(joined(h, parents, skip)))

    def advance(self, h: jax.Array, z: jax.Array, features: jax.Array, parents: jax.Array) -> jax.Array:
        """The next state `[b, r, r, next width]`."""
        return self.conv(h + features + self.z_proj(joined(z, parents)))

    def latent_path(self, z: jax.Array, features: jax.Array) -> jax.Array | None:
        """Input of the next block's prior `[b, r, r, next width]`; None where that is the state, and at the end."""
        return None if self.z_feat_proj is None else self.z_feat_proj(joined(z, features))


def gaussian(moments: jax.Array) -> Gaussian:
    """Splits `[..., 2 c]` into a location and a log-scale, in float32."""
    loc, log_scale = jnp.split(moments.astype(jnp.float32), 2, axis=-1)
    return Gaussian(loc=loc, log_scale=log_scale)


def joined(*maps: jax.Array) -> jax.Array:
    """Maps of one resolution one after another along the channels."""
    return jnp.concatenate(maps, axis=-1)


def pooled(x: jax.Array, factor: int) -> jax.Array:
    """Means over squares of `factor` pixels."""
    if factor == 1:
        return x
    b, h, w, c = x.shape
    return x.reshape(b, h // factor, factor, w // factor, factor, c).mean((2, 4))


def enlarged(x: jax.Array, resolution: int) -> jax.Array:
    """Nearest-neighbour enlargement of `[b, r, r, c]` to `resolution`, a multiple of r."""
    b, h, w, c = x.shape
    times = resolution // h
    repeated = jnp.broadcast_to(x[:, :, None, :, None], (b, h, times, w, times, c))
    return repeated.reshape(b, resolution, resolution, c)
