"""The variational autoencoder of Stable Diffusion (diffusers' `AutoencoderKL`)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from prism_jax.models.attention import Attention
from prism_jax.models.layers import Conv1x1, Downsample, GroupNorm, ResnetBlock, Upsample, conv3x3

EPSILON = 1e-6  # of every group norm here


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Options of the VAE; the fields that diffusers has too carry its names."""

    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    in_channels: int = 3
    latent_channels: int = 4
    scaling_factor: float = 0.18215
    sample_size: int = 512
    dtype: jnp.dtype = jnp.float32  # compute; parameters are always float32

    @classmethod
    def from_dict(cls, config: dict[str, Any], *, dtype: jnp.dtype = jnp.float32) -> "AutoencoderConfig":
        """Reads a diffusers `vae/config.json`; raises ValueError for options this network does not have."""
        names = {field.name for field in dataclasses.fields(cls)} - {"dtype"}
        known = {name: config[name] for name in names if name in config}
        own = cls(**known | {"block_out_channels": tuple(config["block_out_channels"])}, dtype=dtype)
        supported = own._fixed | {
            "mid_block_add_attention": True,
            "use_quant_conv": True,
            "use_post_quant_conv": True,
            "latents_mean": None,
            "latents_std": None,
            "shift_factor": None,
        }
        for name, value in supported.items():
            if config.get(name, value) != value:
                raise ValueError(f"vae config: {name} = {config[name]!r} is not supported; it must be {value!r}")
        return own

    def to_dict(self) -> dict[str, Any]:
        """The diffusers `vae/config.json`."""
        own = dataclasses.asdict(self) | {"block_out_channels": list(self.block_out_channels)}
        del own["dtype"]
        return own | self._fixed | {"_class_name": "AutoencoderKL"}

    @property
    def _fixed(self) -> dict[str, Any]:
        """Options of diffusers of which this network has one value alone."""
        levels = len(self.block_out_channels)
        return {
            "act_fn": "silu",
            "out_channels": self.in_channels,
            "down_block_types": ["DownEncoderBlock2D"] * levels,
            "up_block_types": ["UpDecoderBlock2D"] * levels,
        }

    @property
    def factor(self) -> int:
        """Downsampling factor: pixels per latent along a side."""
        return 2 ** (len(self.block_out_channels) - 1)


class MidAttention(nnx.Module):
    """Single-head self-attention over all positions, with a residual."""

    def __init__(self, channels: int, *, groups: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.group_norm = GroupNorm(channels, groups=groups, epsilon=EPSILON, rngs=rngs)
        self.attention = Attention(channels, heads=1, context_dim=None, bias=True, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        return x + self.attention(self.group_norm(x).reshape(b, h * w, c)).reshape(x.shape)


class MidBlock(nnx.Module):
    def __init__(self, channels: int, config: AutoencoderConfig, *, rngs: nnx.Rngs):
        options = dict(groups=config.norm_num_groups, dtype=config.dtype, rngs=rngs)
        self.resnets = nnx.List([ResnetBlock(channels, channels, epsilon=EPSILON, **options) for _ in range(2)])
        self.attentions = nnx.List([MidAttention(channels, **options)])

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Level(nnx.Module):
    """Residual blocks at one resolution, and where `scale` is 0.5 or 2 a layer that changes the side by it."""

    def __init__(self, inputs: int, outputs: int, layers: int, scale: float, config: AutoencoderConfig, rngs: nnx.Rngs):
        options = dict(dtype=config.dtype, rngs=rngs)
        norm = dict(groups=config.norm_num_groups, epsilon=EPSILON)
        self.resnets = nnx.List(
            ResnetBlock(inputs if i == 0 else outputs, outputs, **norm, **options) for i in range(layers)
        )
        self.downsamplers = nnx.List([Downsample(outputs, asymmetric=True, **options)] if scale == 0.5 else [])
        self.upsamplers = nnx.List([Upsample(outputs, **options)] if scale == 2 else [])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in (*self.resnets, *self.downsamplers, *self.upsamplers):
            x = layer(x)
        return x


class Encoder(nnx.Module):
    """Images `[b, h, w, 3]` to the moments of the latents `[b, h/8, w/8, 2 * 4]`, before `quant_conv`."""

    def __init__(self, config: AutoencoderConfig, *, rngs: nnx.Rngs):
        channels, last = config.block_out_channels, len(config.block_out_channels) - 1
        options = dict(dtype=config.dtype, rngs=rngs)
        self.conv_in = conv3x3(config.in_channels, channels[0], **options)
        self.down_blocks = nnx.List(
            Level(channels[max(i - 1, 0)], c, config.layers_per_block, 0.5 if i < last else 1, config, rngs)
            for i, c in enumerate(channels)
        )
        self.mid_block = MidBlock(channels[-1], config, rngs=rngs)
        self.conv_norm_out = GroupNorm(channels[-1], groups=config.norm_num_groups, epsilon=EPSILON, rngs=rngs)
        self.conv_out = conv3x3(channels[-1], 2 * config.latent_channels, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(jax.nn.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nnx.Module):
    """Latents `[b, h/8, w/8, 4]`, after `post_quant_conv`, to images `[b, h, w, 3]`."""

    def __init__(self, config: AutoencoderConfig, *, rngs: nnx.Rngs):
        channels, last = config.block_out_channels[::-1], len(config.block_out_channels) - 1
        options = dict(dtype=config.dtype, rngs=rngs)
        self.conv_in = conv3x3(config.latent_channels, channels[0], **options)
        self.mid_block = MidBlock(channels[0], config, rngs=rngs)
        self.up_blocks = nnx.List(
            Level(channels[max(i - 1, 0)], c, config.layers_per_block + 1, 2 if i < last else 1, config, rngs)
            for i, c in enumerate(channels)
        )
        self.conv_norm_out = GroupNorm(channels[-1], groups=config.norm_num_groups, epsilon=EPSILON, rngs=rngs)
        self.conv_out = conv3x3(channels[-1], config.in_channels, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(jax.nn.silu(self.conv_norm_out(x)))


class AutoencoderKL(nnx.Module):
    """Encodes images to a diagonal Gaussian over latents, and decodes latents; neither applies the scaling factor."""

    def __init__(self, config: AutoencoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        latents = config.latent_channels
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)
        self.quant_conv = Conv1x1(2 * latents, 2 * latents, dtype=config.dtype, rngs=rngs)
        self.post_quant_conv = Conv1x1(latents, latents, dtype=config.dtype, rngs=rngs)

    def encode(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance, float32 `[b, h/8, w/8, 4]`, of the posterior of images in [-1, 1]."""
        _, h, w, _ = images.shape
        for side in (h, w):
            if side % self.config.factor:
                low = side - side % self.config.factor
                raise ValueError(
                    f"an image side of {side} pixels is not divisible by the VAE's factor {self.config.factor}; "
                    f"use {low or self.config.factor} or {low + self.config.factor}"
                )
        moments = self.quant_conv(self.encoder(images)).astype(jnp.float32)
        mean, logvar = jnp.split(moments, 2, axis=-1)
        return mean, jnp.clip(logvar, -30.0, 20.0)

    def decode(self, z: jax.Array) -> jax.Array:
        """Images, float32 `[b, h, w, 3]` around [-1, 1], of unscaled latents `[b, h/8, w/8, 4]`."""
        return self.decoder(self.post_quant_conv(z)).astype(jnp.float32)
