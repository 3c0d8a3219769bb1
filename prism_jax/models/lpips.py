"""The network of LPIPS: the convolutions of AlexNet and a weight for every channel (Zhang et al. 2018).

Learned perceptual image patch similarity, arXiv 1801.03924; torchvision's AlexNet up to its last ReLU.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

# Of the images in [-1, 1]: ImageNet's means and deviations, as richzhang/PerceptualSimilarity rounds them.
SHIFT = np.float32([-0.030, -0.088, -0.188])
SCALE = np.float32([0.458, 0.448, 0.450])
NORM_FLOOR = 1e-10  # added to the length of a feature before it divides


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conv:
    """One convolution and the ReLU behind it."""

    channels: int
    side: int = 3
    stride: int = 1
    padding: int = 1
    pool: int = 0  # side of the max pooling, of stride 2, before it; 0: none


@dataclasses.dataclass(frozen=True, kw_only=True)
class LPIPSConfig:
    """The convolutions, in order."""

    convs: tuple[Conv, ...]

    @classmethod
    def alex(cls) -> "LPIPSConfig":
        """AlexNet, the usual LPIPS."""
        first, second = Conv(channels=64, side=11, stride=4, padding=2), Conv(channels=192, side=5, padding=2, pool=3)
        third, fourth, fifth = Conv(channels=384, pool=3), Conv(channels=256), Conv(channels=256)
        return cls(convs=(first, second, third, fourth, fifth))


class LPIPS(nnx.Module):
    """Two batches of images to one distance for each pair."""

    def __init__(self, config: LPIPSConfig, *, rngs: nnx.Rngs):
        self.config = config
        inputs = (3, *(conv.channels for conv in config.convs))
        self.convs = nnx.List(
            nnx.Conv(n, conv.channels, (conv.side, conv.side), strides=conv.stride, padding=conv.padding, rngs=rngs)
            for n, conv in zip(inputs[:-1], config.convs, strict=True)
        )
        self.lins = nnx.List(nnx.Conv(n, 1, (1, 1), use_bias=False, rngs=rngs) for n in inputs[1:])

    def feature_maps(self, images: jax.Array) -> list[jax.Array]:
        """Features that are compared: unit vectors `[b, h', w', c]` of `[b, h, w, 3]` in [-1, 1], finest first."""
        x, maps = (images - SHIFT[None, None, None]) / SCALE[None, None, None], []
        for conv, layer in zip(self.config.convs, self.convs, strict=True):
            x = nnx.max_pool(x, (conv.pool, conv.pool), strides=(2, 2)) if conv.pool else x
            x = jax.nn.relu(layer(x))
            maps.append(x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + NORM_FLOOR))
        return maps

    def __call__(self, images: jax.Array, references: jax.Array) -> jax.Array:
        """Distances, float32 `[b]`, of `[b, h, w, 3]` twice in [-1, 1]; 0 for equal images.

        Raises:
          ValueError: shapes that differ, or images that are no RGB.
        """
        if images.shape != references.shape or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(
                f"images {images.shape} and references {references.shape} must have one shape [b, h, w, 3]"
            )
        pairs = zip(self.lins, self.feature_maps(images), self.feature_maps(references), strict=True)
        return sum(lin(jnp.square(x - y)).mean((1, 2, 3)) for lin, x, y in pairs)
