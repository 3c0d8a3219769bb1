"""DenseNet (Huang et al. 2017, arXiv 1608.06993) with torchvision's and torchxrayvision's parameter names.

With batch normalisation it computes what those files were trained to compute and is never trained here: its running
statistics are parameters like others. What we train has group normalisation, and so no state beside its parameters
and results that do not depend on the batch.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from prism_jax.models.layers import GroupNorm

EPSILON = 1e-5  # of every norm here

Pool = Literal["mean", "mean_max"]
"""Pooling of feature maps: mean, or mean and maximum, which responds more to thin lines (tubes, wires)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseNetConfig:
    """Options of the network; the names are torchvision's where it has them."""

    growth_rate: int = 32
    block_config: tuple[int, ...] = (6, 12, 24, 16)
    num_init_features: int = 64
    bn_size: int = 4
    """Width of a layer's bottleneck, in growth rates."""
    num_classes: int = 18
    in_channels: int = 1
    norm: Literal["batch", "group"] = "group"
    norm_num_groups: int = 4
    """Of group normalisation."""
    pool: Pool = "mean"
    input_range: float = 1.0
    """Pixels lie in [-input_range, input_range]; torchxrayvision's in [-1024, 1024]."""
    dtype: jnp.dtype = jnp.float32  # compute; parameters are always float32

    @classmethod
    def torchxrayvision(cls, num_classes: int = 18) -> "DenseNetConfig":
        """DenseNet-121 as torchxrayvision publishes it."""
        return cls(num_classes=num_classes, norm="batch", input_range=1024.0)

    @classmethod
    def small(cls) -> "DenseNetConfig":
        """Trained on phantoms in minutes on two CPU cores."""
        return cls(growth_rate=16, block_config=(2, 3, 4), num_init_features=16, bn_size=2, pool="mean_max")


class FrozenBatchNorm(nnx.Module):
    """Batch normalisation by running statistics, as PyTorch's in `eval()`; in float32."""

    def __init__(self, channels: int):
        self.scale, self.bias = nnx.Param(jnp.ones(channels)), nnx.Param(jnp.zeros(channels))
        self.running_mean, self.running_var = nnx.Param(jnp.zeros(channels)), nnx.Param(jnp.ones(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.scale[...] * jax.lax.rsqrt(self.running_var[...] + EPSILON)  # [c]
        centred = x.astype(jnp.float32) - self.running_mean[...][None, None, None]
        return (centred * scale[None, None, None] + self.bias[...][None, None, None]).astype(x.dtype)


class DenseLayer(nnx.Module):
    """Norm, ReLU, 1x1 convolution, and the same with a 3x3 one; the result joins the channels that came in."""

    def __init__(self, inputs: int, config: DenseNetConfig, *, rngs: nnx.Rngs):
        width, norm = config.bn_size * config.growth_rate, norm_of(config, rngs)
        self.norm1 = norm(inputs)
        self.conv1 = _without_bias(inputs, width, 1, config, rngs)
        self.norm2 = norm(width)
        self.conv2 = _without_bias(width, config.growth_rate, 3, config, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.conv1(jax.nn.relu(self.norm1(x)))
        return jnp.concatenate([x, self.conv2(jax.nn.relu(self.norm2(h)))], axis=-1)


class Transition(nnx.Module):
    """Between two blocks: half the channels, half the side."""

    def __init__(self, inputs: int, config: DenseNetConfig, *, rngs: nnx.Rngs):
        self.norm = norm_of(config, rngs)(inputs)
        self.conv = _without_bias(inputs, inputs // 2, 1, config, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.avg_pool(self.conv(jax.nn.relu(self.norm(x))), (2, 2), strides=(2, 2))


class DenseNet(nnx.Module):
    """Grayscale images to one logit per class. The head is `classifier`, a linear layer on `pooled`."""

    def __init__(self, config: DenseNetConfig, *, rngs: nnx.Rngs):
        self.config = config
        channels = config.num_init_features
        self.conv0 = nnx.Conv(
            config.in_channels,
            channels,
            (7, 7),
            strides=2,
            padding=3,
            use_bias=False,
            dtype=config.dtype,
            rngs=rngs,
        )
        self.norm0 = norm_of(config, rngs)(channels)
        self.blocks, self.transitions = nnx.Dict(), nnx.Dict()
        for number, layers in enumerate(config.block_config, start=1):
            block = nnx.Dict()
            for layer in range(1, layers + 1):
                block[f"denselayer{layer}"] = DenseLayer(channels, config, rngs=rngs)
                channels += config.growth_rate
            self.blocks[f"denseblock{number}"] = block
            if number < len(config.block_config):
                self.transitions[f"transition{number}"] = Transition(channels, config, rngs=rngs)
                channels //= 2
        self.norm5 = norm_of(config, rngs)(channels)  # its name wherever four blocks are usual
        width = channels * len(config.pool.split("_"))
        self.classifier = nnx.Linear(width, config.num_classes, dtype=jnp.float32, rngs=rngs)

    def feature_maps(self, pixels: jax.Array) -> jax.Array:
        """Maps `[b, h, w, in_channels]` to `[b, h', w', d]` before the last ReLU (torchxrayvision's `features`).

        Raises:
          ValueError: concrete pixels outside the input range, or all within [-1, 1] where that is 1024.
        """
        check_range(pixels, self.config.input_range)
        x = jax.nn.relu(self.norm0(self.conv0(pixels)))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for number in range(1, len(self.config.block_config) + 1):
            block = self.blocks[f"denseblock{number}"]
            for layer in range(1, self.config.block_config[number - 1] + 1):
                x = block[f"denselayer{layer}"](x)
            if number < len(self.config.block_config):
                x = self.transitions[f"transition{number}"](x)
        return self.norm5(x)

    def pooled(self, pixels: jax.Array) -> jax.Array:
        """The feature maps pooled over their places, float32 `[b, d]` (torchxrayvision's `features2`)."""
        return pooled(jax.nn.relu(self.feature_maps(pixels).astype(jnp.float32)), self.config.pool)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        """Maps pixels `[b, h, w, in_channels]` to logits, float32 `[b, num_classes]`."""
        return self.classifier(self.pooled(pixels))


def norm_of(config: DenseNetConfig, rngs: nnx.Rngs) -> Callable[[int], nnx.Module]:
    """channels -> the norm of this configuration."""
    if config.norm == "batch":
        return FrozenBatchNorm
    return lambda channels: GroupNorm(channels, groups=config.norm_num_groups, epsilon=EPSILON, rngs=rngs)


def pooled(maps: jax.Array, pool: Pool) -> jax.Array:
    """`[b, h, w, c]` -> `[b, c]`, or `[b, 2 c]` with means before maxima."""
    mean = jnp.mean(maps, axis=(1, 2))
    return mean if pool == "mean" else jnp.concatenate([mean, jnp.max(maps, axis=(1, 2))], axis=-1)


def check_range(pixels: jax.Array, limit: float) -> None:
    """Raises ValueError for pixels outside [-limit, limit], or scaled to [-1, 1] where far more is meant.

    Skipped while a program is traced: values are unknown then.
    """
    if isinstance(pixels, jax.core.Tracer):
        return
    largest = float(np.max(np.abs(np.asarray(pixels, np.float32)), initial=0.0))
    if not largest <= limit * 1.001:  # also NaN
        raise ValueError(f"pixels reach {largest:g}, the network takes [-{limit:g}, {limit:g}]; scale them")
    if limit > 1 and 0 < largest <= 1:
        raise ValueError(f"pixels reach {largest:g} only, the network takes [-{limit:g}, {limit:g}]; multiply by it")


def _without_bias(inputs: int, outputs: int, side: int, config: DenseNetConfig, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(inputs, outputs, (side, side), padding=side // 2, use_bias=False, dtype=config.dtype, rngs=rngs)
