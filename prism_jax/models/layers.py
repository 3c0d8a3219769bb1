"""Blocks of both the VAE and the UNet, with diffusers' parameter names."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def gelu(x: jax.Array) -> jax.Array:
    """x Phi(x), exactly, in float32, result in the input's dtype."""
    # jax.nn.gelu goes by erfc, which is twice as slow; the digits it saves are those of results below 1e-7.
    wide = x.astype(jnp.float32)
    return (0.5 * wide * (1 + jax.lax.erf(wide * np.float32(np.sqrt(0.5))))).astype(x.dtype)


@jax.custom_vjp
def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`x [..., i]` times `kernel [i, o]`, with a gradient to the kernel that is 2 to 4 times as fast on CPUs.

    Autodiff writes that gradient as a transposed product, for which XLA's CPU backend has no fast kernel.
    """
    return x @ kernel


def _product_backward(kept: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    leading = tuple(range(x.ndim - 1))
    return cotangent @ kernel.T, jax.lax.dot_general(x, cotangent, ((leading, leading), ((), ())))


product.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _product_backward)


def _dot_general(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """`product` with the arguments that flax gives its linear layers' product."""
    return product(x, kernel)


class Linear(nnx.Linear):
    """A linear layer that trains faster on CPUs, by `product`."""

    def __init__(self, inputs: int, outputs: int, **options: Any):
        super().__init__(inputs, outputs, dot_general=_dot_general, **options)


class GroupNorm(nnx.Module):
    """Group normalisation of `[b, h, w, c]`, statistics in float32, result in the input's dtype."""

    def __init__(self, channels: int, *, groups: int, epsilon: float, rngs: nnx.Rngs):
        if channels % groups:
            raise ValueError(f"{channels} channels do not split into {groups} groups; use a multiple of {groups}")
        self.groups = groups
        self.epsilon = epsilon
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        # Channels are summed first and grouped after: reductions along the contiguous axis of a few channels per
        # group are several times slower.
        wide = x.astype(jnp.float32)
        mean = self._per_channel(wide.mean((1, 2)))  # [b, c]
        variance = self._per_channel(jnp.square(wide - mean[:, None, None]).mean((1, 2)))
        scale = self.scale[...][None] * jax.lax.rsqrt(variance + self.epsilon)
        bias = self.bias[...][None] - mean * scale
        return (wide * scale[:, None, None] + bias[:, None, None]).astype(x.dtype)

    def _per_channel(self, moments: jax.Array) -> jax.Array:
        """Averages `[b, c]` within each group, and gives every channel its group's average."""
        b, c = moments.shape
        return jnp.repeat(moments.reshape(b, self.groups, -1).mean(-1), c // self.groups, axis=1)


class LayerNorm(nnx.LayerNorm):
    """Layer normalisation in float32, result in the input's dtype."""

    def __init__(self, channels: int, *, epsilon: float, rngs: nnx.Rngs):
        super().__init__(channels, epsilon=epsilon, dtype=jnp.float32, use_fast_variance=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return super().__call__(x).astype(x.dtype)


def _convolved(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@jax.custom_vjp
def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`x [b, h, w, i]`, padded with zeros, convolved with `kernel [k, k, i, o]` of an odd side to `[b, h, w, o]`.

    The gradient to `x` is a convolution with the kernel turned round, and is written as one. Autodiff leaves the
    kernel's channels in the other order, for which XLA's CPU backend has no fast program within a loop: null-text
    inversion took twice as long.
    """
    return _convolved(x, kernel)


def _convolution_backward(kept: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    of_kernel = jax.linear_transpose(partial(_convolved, x), kernel)(cotangent)[0]
    return _convolved(cotangent, jnp.flip(kernel, (0, 1)).swapaxes(2, 3)), of_kernel


convolution.defvjp(lambda x, kernel: (_convolved(x, kernel), (x, kernel)), _convolution_backward)


def _conv_general_dilated(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """`convolution` with the arguments that flax gives its layers' convolution."""
    return convolution(x, kernel)


def conv3x3(inputs: int, outputs: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Conv:
    """A 3x3 convolution that keeps its input's size, by `convolution`."""
    options = dict(padding=1, dtype=dtype, conv_general_dilated=_conv_general_dilated, rngs=rngs)
    return nnx.Conv(inputs, outputs, (3, 3), **options)


class Conv1x1(nnx.Conv):
    """A 1x1 convolution, computed as the matrix product it is: its gradient is 2 to 4 times as fast on CPUs."""

    def __init__(self, inputs: int, outputs: int, **options: Any):
        super().__init__(inputs, outputs, (1, 1), **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        bias = None if self.bias is None else self.bias[...][None, None, None]
        x, kernel, bias = self.promote_dtype((x, self.kernel[0, 0], bias), dtype=self.dtype)
        return product(x, kernel) if bias is None else product(x, kernel) + bias


class ResnetBlock(nnx.Module):
    """Two normalised convolutions around a residual; the UNet's also add a time embedding in between."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        groups: int,
        epsilon: float,
        time_dim: int | None = None,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.norm1 = GroupNorm(inputs, groups=groups, epsilon=epsilon, rngs=rngs)
        self.conv1 = conv3x3(inputs, outputs, dtype=dtype, rngs=rngs)
        self.time_emb_proj = Linear(time_dim, outputs, dtype=dtype, rngs=rngs) if time_dim else None
        self.norm2 = GroupNorm(outputs, groups=groups, epsilon=epsilon, rngs=rngs)
        self.conv2 = conv3x3(outputs, outputs, dtype=dtype, rngs=rngs)
        self.conv_shortcut = Conv1x1(inputs, outputs, dtype=dtype, rngs=rngs) if inputs != outputs else None

    def __call__(self, x: jax.Array, time: jax.Array | None = None) -> jax.Array:
        """Maps `x [b, h, w, c_in]` and `time [b, d]` to `[b, h, w, c_out]`."""
        h = self.conv1(jax.nn.silu(self.norm1(x)))
        if self.time_emb_proj is not None:
            h = h + self.time_emb_proj(jax.nn.silu(time))[:, None, None]
        h = self.conv2(jax.nn.silu(self.norm2(h)))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Downsample(nnx.Module):
    """A strided 3x3 convolution; the VAE's pads only below and to the right."""

    def __init__(self, channels: int, *, asymmetric: bool, dtype: jnp.dtype, rngs: nnx.Rngs):
        padding = ((0, 1), (0, 1)) if asymmetric else ((1, 1), (1, 1))
        self.conv = nnx.Conv(channels, channels, (3, 3), strides=2, padding=padding, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv(x)


class Upsample(nnx.Module):
    """Nearest-neighbour doubling followed by a 3x3 convolution."""

    def __init__(self, channels: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.conv = conv3x3(channels, channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        doubled = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
        return self.conv(doubled)
