"""Attribute predictors: networks for counterfactual training and for measuring its result.

Outputs by attribute: a quantity has its mean and standard deviation [b, 2] in the scaled unit, a binary attribute one
logit [b, 1], one of more classes a logit each.
"""

import dataclasses
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx

from prism_jax.models.layers import GroupNorm

Outputs = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MorphoConfig:
    """Options of the Morpho-MNIST predictor."""

    size: int = 32  # pixels of a side; from 33 on the network pools once more, from 65 on it strides too
    channels: int = 1
    width: int = 8  # of the first layer; the features are eight times as wide
    classes: int = 10

    @property
    def heads(self) -> dict[str, int]:
        """Predicted attributes and their numbers of classes; 0 for a continuous one."""
        return {"thickness": 0, "intensity": 0, "digit": self.classes}

    @property
    def conditioning(self) -> tuple[str, ...]:
        """Attributes that are inputs beside the image."""
        return ("intensity",)


class PlainCNN(nnx.Module):
    """Six convolutions with batch norm, the mean over pixels, and two linear layers with an optional context."""

    def __init__(self, config: MorphoConfig, *, outputs: int, context: int = 0, rngs: nnx.Rngs):
        w, stride = config.width, 2 if config.size > 64 else 1
        shapes = ((w, 7, stride), (2 * w, 3, 2), (2 * w, 3, 1), (4 * w, 3, 2), (4 * w, 3, 1), (8 * w, 3, 2))
        inputs = (config.channels, *(shape[0] for shape in shapes[:-1]))
        self.pools = config.size > 32
        self.convs = nnx.List(
            nnx.Conv(c, out, (k, k), strides=s, padding=k // 2, use_bias=False, rngs=rngs)
            for c, (out, k, s) in zip(inputs, shapes, strict=True)
        )
        self.norms = nnx.List(_batch_norm(out, rngs) for out, _, _ in shapes)
        self.hidden = nnx.Linear(8 * w + context, 8 * w, use_bias=False, rngs=rngs)
        self.norm = _batch_norm(8 * w, rngs)
        self.out = nnx.Linear(8 * w, outputs, rngs=rngs)

    def __call__(self, images: jax.Array, context: jax.Array | None = None, *, training: bool = False) -> jax.Array:
        """Maps `[b, h, w, c]` in [-1, 1] and `context [b, k]` to `[b, outputs]`.

        In training the batch norms use the batch's moments and renew their running ones.
        """
        x = images
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = jax.nn.leaky_relu(_normed(norm, conv(x), training))
            if i == 0 and self.pools:
                x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = x.mean((1, 2))
        x = x if context is None else jnp.concatenate([x, context], axis=1)
        return self.out(jax.nn.leaky_relu(_normed(self.norm, self.hidden(x), training)))


def _batch_norm(channels: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """Momentum 0.9 is PyTorch's 0.1."""
    return nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, use_fast_variance=False, rngs=rngs)


def _normed(norm: nnx.BatchNorm, x: jax.Array, training: bool) -> jax.Array:
    """`norm` of `x` [..., c]; in training by the batch's moments, which its running ones take in."""
    held = norm.momentum * norm.var[...]
    y = norm(x, use_running_average=not training)
    if training:
        # PyTorch normalises by the biased variance and keeps the unbiased one.
        count = x.size // x.shape[-1]
        norm.var[...] = held + (norm.var[...] - held) * count / max(count - 1, 1)
    return y


class MorphoPredictor(nnx.Module):
    """q(digit | x), q(intensity | x) and q(thickness | x, intensity), a network each."""

    def __init__(self, config: MorphoConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.thickness = PlainCNN(config, outputs=2, context=1, rngs=rngs)
        self.intensity = PlainCNN(config, outputs=2, rngs=rngs)
        self.digit = PlainCNN(config, outputs=config.classes, rngs=rngs)

    def __call__(self, images: jax.Array, conditioning: Outputs, *, keys: jax.Array | None = None) -> Outputs:
        """Outputs for `images [b, h, w, c]` in [-1, 1], with their "intensity" [b] in the scaled unit.

        With `keys`, as in training, batch norms use and renew moments; nothing is drawn.
        """
        intensity, training = conditioning["intensity"], keys is not None
        return {
            "thickness": _normal(self.thickness(images, intensity[:, None], training=training), squashed=True),
            "intensity": _normal(self.intensity(images, training=training), squashed=True),
            "digit": self.digit(images, training=training),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChestConfig:
    """Options of the chest X-ray predictor: ResNet-18 with group norm, and its attributes."""

    widths: tuple[int, ...] = (64, 128, 256, 512)
    channels: int = 1
    dropout: float = 0.2
    binary: tuple[str, ...] = ("sex", "finding")
    several: tuple[tuple[str, int], ...] = (("race", 3),)  # attributes of more classes, and how many
    quantities: tuple[tuple[str, tuple[str, ...]], ...] = (("age", ("finding",)),)  # and what each is conditioned on

    @classmethod
    def phantom(cls, widths: tuple[int, ...] = (16, 32, 64, 128)) -> "ChestConfig":
        """For the phantom: age is not conditioned on labels, so that none leaks into its prediction."""
        binary = ("sex", "cardiomegaly", "effusion", "pacemaker", "support_lines", "view")
        return cls(widths=widths, binary=binary, several=(), quantities=(("age", ()),))

    @property
    def heads(self) -> dict[str, int]:
        """Predicted attributes and their numbers of classes; 0 for a continuous one."""
        return dict.fromkeys(self.binary, 2) | dict(self.several) | {name: 0 for name, _ in self.quantities}

    @property
    def conditioning(self) -> tuple[str, ...]:
        """Attributes that are inputs beside the image."""
        return tuple(dict.fromkeys(name for _, names in self.quantities for name in names))


def _norm(channels: int, rngs: nnx.Rngs) -> GroupNorm:
    return GroupNorm(channels, groups=min(32, channels // 4), epsilon=1e-5, rngs=rngs)


def _conv(inputs: int, outputs: int, side: int, stride: int, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(inputs, outputs, (side, side), strides=stride, padding=side // 2, use_bias=False, rngs=rngs)


class ResidualUnit(nnx.Module):
    """Two 3x3 convolutions around a shortcut, dropout between them."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, dropout: float, rngs: nnx.Rngs):
        self.conv1 = _conv(inputs, outputs, 3, stride, rngs)
        self.bn1 = _norm(outputs, rngs)
        self.conv2 = _conv(outputs, outputs, 3, 1, rngs)
        self.bn2 = _norm(outputs, rngs)
        changes = stride != 1 or inputs != outputs
        self.downsample = _conv(inputs, outputs, 1, stride, rngs) if changes else None
        self.downsample_norm = _norm(outputs, rngs) if changes else None
        self.dropout = dropout

    def __call__(self, x: jax.Array, keys: jax.Array | None) -> jax.Array:
        h = jax.nn.relu(self.bn1(self.conv1(x)))
        if keys is not None and self.dropout:
            draw = jax.vmap(lambda each: jax.random.bernoulli(each, 1 - self.dropout, h.shape[1:]))
            h = h * draw(keys) / (1 - self.dropout)
        h = self.bn2(self.conv2(h))
        shortcut = x if self.downsample is None else self.downsample_norm(self.downsample(x))
        return jax.nn.relu(h + shortcut)


class ChestPredictor(nnx.Module):
    """One trunk and a linear head for each attribute; a continuous attribute's head may be conditioned on others."""

    def __init__(self, config: ChestConfig, *, rngs: nnx.Rngs):
        self.config = config
        w = config.widths
        self.stem = _conv(config.channels, w[0], 7, 2, rngs)
        self.stem_norm = _norm(w[0], rngs)
        shapes = [(w[0], w[0], 1)] + [(a, b, 2) for a, b in pairwise(w)]
        self.units = nnx.List(
            ResidualUnit(c if first else out, out, stride=s if first else 1, dropout=config.dropout, rngs=rngs)
            for c, out, s in shapes
            for first in (True, False)
        )
        sizes = [(name, 1, 0) for name in config.binary] + [(name, count, 0) for name, count in config.several]
        sizes += [(name, 2, len(inputs)) for name, inputs in config.quantities]
        self.heads = nnx.Dict({name: nnx.Linear(w[-1] + inputs, count, rngs=rngs) for name, count, inputs in sizes})

    def features(self, images: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """Maps `[b, h, w, c]` in [-1, 1] to `[b, d]`; with `keys` [b] units drop out."""
        x = jax.nn.relu(self.stem_norm(self.stem(images)))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for i, unit in enumerate(self.units):
            x = unit(x, None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, i))
        return x.mean((1, 2))

    def __call__(self, images: jax.Array, conditioning: Outputs, *, keys: jax.Array | None = None) -> Outputs:
        """Outputs for `images`; `conditioning` has the encoded attributes [b] of the continuous heads."""
        features = self.features(images, keys)
        outputs = {}
        for name, head in self.heads.items():
            names = dict(self.config.quantities).get(name, ())
            inputs = [conditioning[other][:, None].astype(jnp.float32) for other in names]
            outputs[name] = head(jnp.concatenate([features, *inputs], axis=1))
        return outputs | {name: _normal(outputs[name], squashed=False) for name, _ in self.config.quantities}


def _normal(raw: jax.Array, *, squashed: bool) -> jax.Array:
    """Mean and standard deviation from a head's two numbers."""
    mean = jnp.tanh(raw[:, 0]) if squashed else raw[:, 0]
    return jnp.stack([mean, jax.nn.softplus(raw[:, 1])], axis=1)
