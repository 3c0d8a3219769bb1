"""Two translators between images with and without an attribute, and their critics (Zhu et al. 2017, arXiv 1703.10593).

Layer by layer the ResNet generator and the PatchGAN of the paper's PyTorch code. Instance norm has no parameters there.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

EPSILON = 1e-5  # of instance norm
SLOPE = 0.2  # of the discriminators' leaky ReLU
STEP = 4  # the generator halves its sides twice: they are multiples of it
WIDEST = 8  # largest width of a discriminator's layers, in widths of its first

start = nnx.initializers.normal(0.02)  # of all kernels, as published


@dataclasses.dataclass(frozen=True, kw_only=True)
class CycleGANConfig:
    """Options of both generators and both discriminators, and the attribute they translate."""

    attribute: str = "cardiomegaly"
    """The attribute that one generator adds and the other removes: a finding, "sex" (M), or "view" (AP)."""
    size: int = 64
    """Side of the training images, in pixels. The networks also accept other sizes."""
    channels: int = 1
    width: int = 16
    """Of the generators' first and last layers."""
    blocks: int = 4
    """Residual blocks at a quarter of the side."""
    discriminator_width: int = 16
    """Of the discriminators' first layer."""
    halvings: int = 3
    """Strided convolutions of the discriminators."""

    def __post_init__(self) -> None:
        for name in ("channels", "width", "blocks", "discriminator_width", "halvings"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is no number of layers or channels; use 1 or more")
        # Reflection pads 3 pixels of the image; instance norm needs two positions before the last layer.
        least = max(2 * STEP, 3 * 2**self.halvings)
        if self.size % STEP or self.size < least:
            raise ValueError(
                f"size {self.size} is not a multiple of {STEP} from {least} on, which {self.halvings} halvings need; "
                f"use {max(least, self.size // STEP * STEP)}"
            )

    @classmethod
    def published(cls, *, size: int = 256, **options) -> "CycleGANConfig":
        """Of the paper: 64 channels, and nine residual blocks from 256 pixels on, six below; 28 million parameters."""
        return cls(size=size, width=64, blocks=9 if size >= 256 else 6, discriminator_width=64, **options)


def instance_norm(x: jax.Array) -> jax.Array:
    """Every channel of every image `[b, h, w, c]` at mean 0 and variance 1."""
    centred = x - x.mean((1, 2), keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean((1, 2), keepdims=True) + EPSILON)


def _conv(inputs: int, outputs: int, side: int, rngs: nnx.Rngs, *, stride: int = 1, padding: int | str) -> nnx.Conv:
    return nnx.Conv(inputs, outputs, (side, side), strides=stride, padding=padding, kernel_init=start, rngs=rngs)


_reflected = partial(_conv, padding="REFLECT")


def _doubling(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.ConvTranspose:
    """PyTorch's transposed convolution of padding 1 and output_padding 1: exactly twice the side."""
    return nnx.ConvTranspose(
        inputs,
        outputs,
        (3, 3),
        strides=(2, 2),
        padding=((1, 2), (1, 2)),
        transpose_kernel=True,
        kernel_init=start,
        rngs=rngs,
    )


class ResidualBlock(nnx.Module):
    """Two 3x3 convolutions with instance norm and a residual connection, without activation after the sum."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.conv1 = _reflected(channels, channels, 3, rngs)
        self.conv2 = _reflected(channels, channels, 3, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = jax.nn.relu(instance_norm(self.conv1(x)))
        return x + instance_norm(self.conv2(h))


class Generator(nnx.Module):
    """Maps images `[b, h, w, c]` in [-1, 1] to images of the same shape and range; sides are multiples of 4.

    As published, the first instance norm removes an image's own brightness and contrast: the output has those
    that are usual.
    """

    def __init__(self, config: CycleGANConfig, *, rngs: nnx.Rngs):
        w = config.width
        self.conv_in = _reflected(config.channels, w, 7, rngs)
        self.downs = nnx.List(_conv(c, 2 * c, 3, rngs, stride=2, padding=1) for c in (w, 2 * w))
        self.blocks = nnx.List(ResidualBlock(4 * w, rngs=rngs) for _ in range(config.blocks))
        self.ups = nnx.List(_doubling(c, c // 2, rngs) for c in (4 * w, 2 * w))
        self.conv_out = _reflected(w, config.channels, 7, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv in (self.conv_in, *self.downs):
            x = jax.nn.relu(instance_norm(conv(x)))
        for block in self.blocks:
            x = block(x)
        for conv in self.ups:
            x = jax.nn.relu(instance_norm(conv(x)))
        return jnp.tanh(self.conv_out(x))


class Discriminator(nnx.Module):
    """PatchGAN: scores `[b, h', w', 1]` of windows of `[b, h, w, c]`, about 1 for real and 0 for generated ones."""

    def __init__(self, config: CycleGANConfig, *, rngs: nnx.Rngs):
        widths = [config.discriminator_width * min(2**i, WIDEST) for i in range(config.halvings + 1)]
        inputs = (config.channels, *widths[:-1])
        self.convs = nnx.List(
            _conv(c, out, 4, rngs, stride=2 if i < config.halvings else 1, padding=1)
            for i, (c, out) in enumerate(zip(inputs, widths, strict=True))
        )
        self.conv_out = _conv(widths[-1], 1, 4, rngs, padding=1)

    def __call__(self, x: jax.Array) -> jax.Array:
        for i, conv in enumerate(self.convs):
            h = conv(x)
            x = jax.nn.leaky_relu(instance_norm(h) if i else h, SLOPE)
        return self.conv_out(x)


class Generators(nnx.Module):
    """Both ways: `add` gives images the attribute, `remove` takes it away."""

    def __init__(self, config: CycleGANConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.add = Generator(config, rngs=rngs)
        self.remove = Generator(config, rngs=rngs)


class Discriminators(nnx.Module):
    """Discriminators of real and generated images: `present` of those with the attribute, `absent` without."""

    def __init__(self, config: CycleGANConfig, *, rngs: nnx.Rngs):
        self.present = Discriminator(config, rngs=rngs)
        self.absent = Discriminator(config, rngs=rngs)
