"""ConvNeXt (Liu et al. 2022, arXiv 2201.03545) on grayscale images: the second family of classifiers after DenseNet.

Layer normalisation throughout: no state beside the parameters, and results that do not depend on the batch.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from prism_jax.models.densenet import Pool, check_range, pooled
from prism_jax.models.layers import LayerNorm, Linear

EPSILON = 1e-6  # of every norm here
EXPANSION = 4  # of a block's pointwise layers


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvNeXtConfig:
    """Options of the network; the names are torchvision's and timm's where they have them."""

    depths: tuple[int, ...] = (3, 3, 9, 3)
    dims: tuple[int, ...] = (96, 192, 384, 768)
    patch_size: int = 4
    """Patch size of the stem, in pixels."""
    kernel_size: int = 7
    layer_scale: float = 1e-6
    """First value of the factor on each block's change."""
    pool: Pool = "mean"
    num_classes: int = 18
    in_channels: int = 1
    input_range: float = 1.0
    """Pixels lie in [-input_range, input_range]."""
    dtype: jnp.dtype = jnp.float32  # compute; parameters are always float32

    @classmethod
    def small(cls) -> "ConvNeXtConfig":
        """Trained on phantoms in minutes on two CPU cores."""
        return cls(depths=(1, 1, 2), dims=(24, 48, 96), kernel_size=5, layer_scale=0.1, pool="mean_max")


class Block(nnx.Module):
    """A depthwise convolution and two pointwise layers around a residual."""

    def __init__(self, channels: int, config: ConvNeXtConfig, *, rngs: nnx.Rngs):
        side = config.kernel_size
        self.conv_dw = nnx.Conv(
            channels, channels, (side, side), feature_group_count=channels, dtype=config.dtype, rngs=rngs
        )
        self.norm = LayerNorm(channels, epsilon=EPSILON, rngs=rngs)
        self.fc1 = Linear(channels, EXPANSION * channels, dtype=config.dtype, rngs=rngs)
        self.fc2 = Linear(EXPANSION * channels, channels, dtype=config.dtype, rngs=rngs)
        self.scale = nnx.Param(jnp.full(channels, config.layer_scale))

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.fc2(jax.nn.gelu(self.fc1(self.norm(self.conv_dw(x)))))
        return x + self.scale[...][None, None, None].astype(h.dtype) * h


class Downsample(nnx.Module):
    """Between two stages: half the side, other channels."""

    def __init__(self, inputs: int, outputs: int, config: ConvNeXtConfig, *, rngs: nnx.Rngs):
        self.norm = LayerNorm(inputs, epsilon=EPSILON, rngs=rngs)
        self.conv = nnx.Conv(inputs, outputs, (2, 2), strides=2, padding="VALID", dtype=config.dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv(self.norm(x))


class ConvNeXt(nnx.Module):
    """Grayscale images to one logit per class. The head is `classifier`, a linear layer on `pooled`."""

    def __init__(self, config: ConvNeXtConfig, *, rngs: nnx.Rngs):
        self.config = config
        patch, dims = (config.patch_size,) * 2, config.dims
        self.stem = nnx.Conv(
            config.in_channels, dims[0], patch, strides=patch, padding="VALID", dtype=config.dtype, rngs=rngs
        )
        self.stem_norm = LayerNorm(dims[0], epsilon=EPSILON, rngs=rngs)
        self.stages = nnx.List(
            nnx.List(Block(channels, config, rngs=rngs) for _ in range(depth))
            for channels, depth in zip(dims, config.depths, strict=True)
        )
        self.downsamples = nnx.List(Downsample(a, b, config, rngs=rngs) for a, b in itertools.pairwise(dims))
        width = dims[-1] * len(config.pool.split("_"))
        self.norm = LayerNorm(width, epsilon=EPSILON, rngs=rngs)
        self.classifier = nnx.Linear(width, config.num_classes, dtype=jnp.float32, rngs=rngs)

    def feature_maps(self, pixels: jax.Array) -> jax.Array:
        """Maps `[b, h, w, in_channels]` to `[b, h', w', d]`; ValueError for concrete pixels outside the range."""
        check_range(pixels, self.config.input_range)
        x = self.stem_norm(self.stem(pixels))
        for number, stage in enumerate(self.stages):
            if number:
                x = self.downsamples[number - 1](x)
            for block in stage:
                x = block(x)
        return x

    def pooled(self, pixels: jax.Array) -> jax.Array:
        """The feature maps pooled over their places and normalised, float32 `[b, d]`."""
        return self.norm(pooled(self.feature_maps(pixels).astype(jnp.float32), self.config.pool))

    def __call__(self, pixels: jax.Array) -> jax.Array:
        """Maps pixels `[b, h, w, in_channels]` to logits, float32 `[b, num_classes]`."""
        return self.classifier(self.pooled(pixels))
