"""The noise-predicting UNet of Stable Diffusion 1.x and 2.x (diffusers' `UNet2DConditionModel`)."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from prism_jax.models.attention import Attention, AttentionControl, Site
from prism_jax.models.layers import (
    Conv1x1,
    Downsample,
    GroupNorm,
    LayerNorm,
    Linear,
    ResnetBlock,
    Upsample,
    conv3x3,
    gelu,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Options of the UNet; the fields that diffusers has too carry its names."""

    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    cross_attention: tuple[bool, ...] = (True, True, True, False)  # per level, from the finest
    num_heads: tuple[int, ...] = (8, 8, 8, 8)  # per level; diffusers calls it attention_head_dim
    cross_attention_dim: int = 768
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    use_linear_projection: bool = False
    in_channels: int = 4
    out_channels: int = 4
    sample_size: int = 64
    dtype: jnp.dtype = jnp.float32  # compute; parameters are always float32
    remat: bool = False  # recompute each layer in the backward pass: less memory, about a third more work

    @classmethod
    def from_dict(cls, config: dict[str, Any], *, dtype: jnp.dtype = jnp.float32, remat: bool = False) -> "UNetConfig":
        """Reads a diffusers `unet/config.json`; raises ValueError for options this network does not have."""
        _refuse_unsupported(config)
        levels = len(config["block_out_channels"])
        cross = tuple(kind == "CrossAttnDownBlock2D" for kind in config["down_block_types"])
        heads = config.get("num_attention_heads") or config.get("attention_head_dim", 8)
        names = {field.name for field in dataclasses.fields(cls)} & config.keys()
        return cls(
            **{name: config[name] for name in names} | {"block_out_channels": tuple(config["block_out_channels"])},
            cross_attention=cross,
            num_heads=(heads,) * levels if isinstance(heads, int) else tuple(heads),
            dtype=dtype,
            remat=remat,
        )

    def to_dict(self) -> dict[str, Any]:
        """The diffusers `unet/config.json`."""
        own = dataclasses.asdict(self) | {"block_out_channels": list(self.block_out_channels)}
        for name in ("dtype", "remat", "cross_attention", "num_heads"):
            del own[name]
        heads = self.num_heads[0] if len(set(self.num_heads)) == 1 else list(self.num_heads)
        down = ["CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in self.cross_attention]
        up = ["CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in self.cross_attention[::-1]]
        return own | {
            "_class_name": "UNet2DConditionModel",
            "attention_head_dim": heads,
            "down_block_types": down,
            "up_block_types": up,
        }

    @property
    def factor(self) -> int:
        """The number that the sides of the latents must be divisible by."""
        return 2 ** (len(self.block_out_channels) - 1)


def _refuse_unsupported(config: dict[str, Any]) -> None:
    down = config["down_block_types"]
    mirrored = [kind.replace("Down", "Up") for kind in down[::-1]]
    supported = {
        "up_block_types": mirrored,
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "act_fn": "silu",
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "downsample_padding": 1,
        "mid_block_scale_factor": 1,
        "center_input_sample": False,
        "dual_cross_attention": False,
        "only_cross_attention": False,
        "class_embed_type": None,
        "num_class_embeds": None,
        "addition_embed_type": None,
        "encoder_hid_dim": None,
        "time_cond_proj_dim": None,
        "resnet_time_scale_shift": "default",
        "time_embedding_type": "positional",
        "transformer_layers_per_block": 1,
        "conv_in_kernel": 3,
        "conv_out_kernel": 3,
        "attention_type": "default",
        "dropout": 0.0,
    }
    wrong = {name: config[name] for name, value in supported.items() if config.get(name, value) != value}
    wrong |= {"down_block_types": down} if set(down) - {"CrossAttnDownBlock2D", "DownBlock2D"} else {}
    if wrong:
        raise ValueError(f"unet config: {wrong} is not supported; only the networks of SD 1.x and SD 2.x are")


class GEGLU(nnx.Module):
    """The transformer's feed-forward part: a gated GELU of four times the width."""

    def __init__(self, channels: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.proj_in = Linear(channels, 8 * channels, dtype=dtype, rngs=rngs)
        self.proj_out = Linear(4 * channels, channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        value, gate = jnp.split(self.proj_in(x), 2, axis=-1)
        return self.proj_out(value * gelu(gate))


class TransformerBlock(nnx.Module):
    def __init__(self, channels: int, *, heads: int, context_dim: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        norm = partial(LayerNorm, channels, epsilon=1e-5, rngs=rngs)
        attend = partial(Attention, channels, heads=heads, bias=False, dtype=dtype, rngs=rngs)
        self.norm1, self.norm2, self.norm3 = norm(), norm(), norm()
        self.attn1 = attend(context_dim=None)
        self.attn2 = attend(context_dim=context_dim)
        self.ff = GEGLU(channels, dtype=dtype, rngs=rngs)

    def __call__(self, x, context, control: AttentionControl | None, site: Site) -> jax.Array:
        x = x + self.attn1(self.norm1(x), (), control, site)
        x = x + self.attn2(self.norm2(x), context, control, dataclasses.replace(site, is_cross=True))
        return x + self.ff(self.norm3(x))


class Transformer(nnx.Module):
    """One transformer block over the positions of a feature map, between two projections."""

    def __init__(self, channels: int, place: str, level: int, config: UNetConfig, *, rngs: nnx.Rngs):
        self.place = place
        self.linear = config.use_linear_projection
        project = Linear if self.linear else Conv1x1
        self.norm = GroupNorm(channels, groups=config.norm_num_groups, epsilon=1e-6, rngs=rngs)
        self.proj_in = project(channels, channels, dtype=config.dtype, rngs=rngs)
        block = TransformerBlock(
            channels,
            heads=config.num_heads[level],
            context_dim=config.cross_attention_dim,
            dtype=config.dtype,
            rngs=rngs,
        )
        self.transformer_blocks = nnx.List([block])
        self.proj_out = project(channels, channels, dtype=config.dtype, rngs=rngs)

    def __call__(self, x: jax.Array, context: tuple[jax.Array, ...], control: AttentionControl | None) -> jax.Array:
        b, h, w, c = x.shape
        site = Site(place=self.place, is_cross=False, height=h, width=w)
        tokens = self.proj_in(self.norm(x)).reshape(b, h * w, c)
        tokens = self.transformer_blocks[0](tokens, context, control, site)
        return x + self.proj_out(tokens.reshape(x.shape))


Run = Callable[..., jax.Array]
"""(a layer, its input as one map or as several to be joined, its other arguments) -> its output."""


class DownBlock(nnx.Module):
    def __init__(self, inputs: int, level: int, config: UNetConfig, resnet: partial, *, rngs: nnx.Rngs):
        outputs, layers = config.block_out_channels[level], config.layers_per_block
        self.resnets = nnx.List(resnet(inputs if i == 0 else outputs, outputs) for i in range(layers))
        attended = layers if config.cross_attention[level] else 0
        self.attentions = nnx.List(Transformer(outputs, "down", level, config, rngs=rngs) for _ in range(attended))
        last = level == len(config.block_out_channels) - 1
        self.downsamplers = nnx.List(
            [] if last else [Downsample(outputs, asymmetric=False, dtype=config.dtype, rngs=rngs)]
        )

    def __call__(self, x, time, context, control, run: Run) -> tuple[jax.Array, list[jax.Array]]:
        """The feature map, and the skip connections in order."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            x = run(resnet, x, time)
            if len(self.attentions):
                x = run(self.attentions[i], x, context, control)
            skips.append(x)
        for downsample in self.downsamplers:
            x = downsample(x)
            skips.append(x)
        return x, skips


class MidBlock(nnx.Module):
    def __init__(self, config: UNetConfig, resnet: partial, *, rngs: nnx.Rngs):
        channels, level = config.block_out_channels[-1], len(config.block_out_channels) - 1
        self.resnets = nnx.List(resnet(channels, channels) for _ in range(2))
        self.attentions = nnx.List([Transformer(channels, "mid", level, config, rngs=rngs)])

    def __call__(self, x, time, context, control, run: Run) -> jax.Array:
        x = run(self.attentions[0], run(self.resnets[0], x, time), context, control)
        return run(self.resnets[1], x, time)


class UpBlock(nnx.Module):
    def __init__(self, previous: int, level: int, config: UNetConfig, resnet: partial, *, rngs: nnx.Rngs):
        outputs, layers = config.block_out_channels[level], config.layers_per_block + 1
        finer = config.block_out_channels[max(level - 1, 0)]  # the last skip comes from the level above
        skips = [outputs] * (layers - 1) + [finer]
        self.resnets = nnx.List(
            resnet((previous if i == 0 else outputs) + skip, outputs) for i, skip in enumerate(skips)
        )
        attended = layers if config.cross_attention[level] else 0
        self.attentions = nnx.List(Transformer(outputs, "up", level, config, rngs=rngs) for _ in range(attended))
        self.upsamplers = nnx.List([] if level == 0 else [Upsample(outputs, dtype=config.dtype, rngs=rngs)])

    def __call__(self, x, skips, time, context, control, run: Run) -> jax.Array:
        for i, resnet in enumerate(self.resnets):
            x = run(resnet, (x, skips[-1 - i]), time)
            if len(self.attentions):
                x = run(self.attentions[i], x, context, control)
        for upsample in self.upsamplers:
            x = upsample(x)
        return x


class TimeEmbedding(nnx.Module):
    """Sinusoids of the timestep through a two-layer perceptron."""

    def __init__(self, channels: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.channels = channels
        self.linear_1 = Linear(channels, 4 * channels, dtype=dtype, rngs=rngs)
        self.linear_2 = Linear(4 * channels, 4 * channels, dtype=dtype, rngs=rngs)

    def __call__(self, timesteps: jax.Array) -> jax.Array:
        half = self.channels // 2
        frequencies = jnp.exp(-jnp.log(10000.0) * jnp.arange(half, dtype=jnp.float32) / half)
        angles = timesteps.astype(jnp.float32)[:, None] * frequencies[None]
        sinusoids = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)  # [b, c]
        return self.linear_2(jax.nn.silu(self.linear_1(sinusoids)))


class UNet2DCondition(nnx.Module):
    """Predicts the noise (or v) in latents, given the timestep and the text."""

    def __init__(self, config: UNetConfig, *, rngs: nnx.Rngs):
        self.config = config
        channels, levels = config.block_out_channels, len(config.block_out_channels)
        resnet = partial(
            ResnetBlock,
            groups=config.norm_num_groups,
            epsilon=config.norm_eps,
            time_dim=4 * channels[0],
            dtype=config.dtype,
            rngs=rngs,
        )
        self.conv_in = conv3x3(config.in_channels, channels[0], dtype=config.dtype, rngs=rngs)
        self.time_embedding = TimeEmbedding(channels[0], dtype=config.dtype, rngs=rngs)
        self.down_blocks = nnx.List(
            DownBlock(channels[max(level - 1, 0)], level, config, resnet, rngs=rngs) for level in range(levels)
        )
        self.mid_block = MidBlock(config, resnet, rngs=rngs)
        self.up_blocks = nnx.List(
            UpBlock(channels[min(level + 1, levels - 1)], level, config, resnet, rngs=rngs)
            for level in reversed(range(levels))
        )
        self.conv_norm_out = GroupNorm(channels[0], groups=config.norm_num_groups, epsilon=config.norm_eps, rngs=rngs)
        self.conv_out = conv3x3(channels[0], config.out_channels, dtype=config.dtype, rngs=rngs)

    def __call__(
        self,
        latents: jax.Array,
        timesteps: jax.Array,
        context: jax.Array | tuple[jax.Array, ...],
        control: AttentionControl | None = None,
    ) -> jax.Array:
        """The raw prediction, float32 `[b, h, w, 4]`, for scaled latents, integer timesteps and text `[b, 77, d]`.

        Text may be given in parts of the batch: parts that are constant in a loop are projected once.
        """
        self._check_sides(latents)
        # A control may keep maps for its caller, which must not leave a rematerialised block.
        run = _recomputed if self.config.remat and control is None else _call
        time = self.time_embedding(jnp.broadcast_to(timesteps, latents.shape[:1]))
        parts = context if isinstance(context, tuple) else (context,)
        context = tuple(part.astype(self.config.dtype) for part in parts)
        x = self.conv_in(latents)
        skips = [x]
        for block in self.down_blocks:
            x, new_skips = block(x, time, context, control, run)
            skips += new_skips
        x = self.mid_block(x, time, context, control, run)
        for block in self.up_blocks:
            used = len(block.resnets)
            skips, taken = skips[:-used], skips[-used:]
            x = block(x, taken, time, context, control, run)
        return self.conv_out(jax.nn.silu(self.conv_norm_out(x))).astype(jnp.float32)

    def _check_sides(self, latents: jax.Array) -> None:
        factor = self.config.factor
        for side in latents.shape[1:3]:
            if side % factor:
                raise ValueError(
                    f"a latent side of {side} is not divisible by the UNet's factor {factor}; "
                    f"use images whose sides are multiples of {8 * factor} pixels"
                )


def _call(layer: nnx.Module, x: jax.Array | tuple[jax.Array, ...], *rest: Any) -> jax.Array:
    return layer(jnp.concatenate(x, axis=-1) if isinstance(x, tuple) else x, *rest)


def _recomputed(layer: nnx.Module, x: jax.Array | tuple[jax.Array, ...], *rest: Any) -> jax.Array:
    """The same, keeping only the arguments for the backward pass, which computes the layer again."""
    graphdef, state = nnx.split(layer)
    return _kept(graphdef, state, x, rest)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kept(graphdef: nnx.GraphDef, state: Any, x: Any, rest: tuple) -> jax.Array:
    return _call(nnx.merge(graphdef, state), x, *rest)


def _kept_forward(graphdef: nnx.GraphDef, *arguments: Any) -> tuple[jax.Array, tuple]:
    return _kept(graphdef, *arguments), arguments


def _kept_backward(graphdef: nnx.GraphDef, arguments: tuple, cotangent: jax.Array) -> tuple:
    """As of `jax.checkpoint`, whose second computation XLA merges with the first on CPUs: it drops the barriers between
    them. Here the second waits for the cotangent, of which it is made to depend, image by image."""
    state, x, rest = arguments
    zero = 0 * cotangent[:, :1, :1, :1]
    x = jax.tree.map(lambda each: each + zero.astype(each.dtype), x)
    _, pull = jax.vjp(lambda *given: _call(nnx.merge(graphdef, given[0]), given[1], *given[2]), state, x, rest)
    return pull(cotangent)


_kept.defvjp(_kept_forward, _kept_backward)
