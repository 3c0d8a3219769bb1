"""Options of the hierarchical VAE, and the architecture that its two strings describe."""

import dataclasses
import re
from typing import Any, Literal

import jax.numpy as jnp


@dataclasses.dataclass(frozen=True, kw_only=True)
class Level:
    """One block of the decoder."""

    resolution: int
    width: int
    next_width: int
    is_stochastic: bool
    feeds_prior: bool
    """The input of the next block's prior is this block's latent instead of its state."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HVAEConfig:
    """The image mechanism of De Sousa Ribeiro et al., ICML 2023 (arXiv 2306.15764)."""

    encoder: str = "32b3d2,16b3d2,8b3d2,4b3d4,1b4"
    """Stages "RbNdF": N blocks at resolution R, then one that shrinks F times and takes the next stage's width."""
    decoder: str = "1b4,4b4,8b4,16b4,32b4"
    """Stages "RbN" from resolution 1 up."""
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Channels of each stage of the encoder; the decoder's are the same in reverse."""
    channels: int = 1
    """Of the image: 1 grayscale, 3 RGB."""
    parents: int = 12
    """Length of the vector of parents."""
    z_dim: int = 16
    """Channels of every latent."""
    z_max_res: int = 192
    """Blocks above this resolution have no latent."""
    bias_max_res: int = 64
    """Stages above this resolution have no learned bias map."""
    parents_max_res: int = 0
    """Stages up to this resolution have a learned map of each parent. 0, as published: parents are the same at all
    positions and become spatial only through the product with a bias map, which is learned later than the latents."""
    bottleneck: int = 4
    """How many times narrower a block is inside."""
    block: Literal["gelu", "light"] = "gelu"
    conditional_prior: bool = False
    """Conditional prior p(z | parents): latents mediate. Otherwise an exogenous prior p(z), independent of the
    parents."""
    q_correction: bool = False
    """The prior's input is the state instead of the preceding latents; it then depends on the parents through the
    state."""
    likelihood: Literal["discretised", "logit", "mixture"] = "discretised"
    """Discretised Gaussian, Gaussian of the logit, or mixture of discretised logistics (RGB alone)."""
    scale: Literal["fixed", "shared", "diagonal"] = "diagonal"
    """Of the Gaussians: exp(scale_init), one learned number a channel, or predicted for every pixel."""
    scale_init: float = 0.0
    """Standard deviation of a pixel at the start, in units of the image; 0: whatever random weights give."""
    mixtures: int = 10
    dtype: jnp.dtype = jnp.float32  # compute; parameters are always float32

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def from_dict(cls, config: dict[str, Any], *, dtype: jnp.dtype = jnp.float32) -> "HVAEConfig":
        """Reads the output of `to_dict`; ValueError for options that are missing or unknown."""
        names = {field.name for field in dataclasses.fields(cls)} - {"dtype"}
        if names != config.keys():
            missing, unknown = sorted(names - config.keys()), sorted(config.keys() - names)
            raise ValueError(f"hvae config: missing {missing}, unknown {unknown}; export the run again")
        return cls(**config | {"widths": tuple(config["widths"])}, dtype=dtype)

    def to_dict(self) -> dict[str, Any]:
        """All options but the compute dtype, as JSON has them."""
        own = dataclasses.asdict(self) | {"widths": list(self.widths)}
        del own["dtype"]
        return own

    @property
    def size(self) -> int:
        """Side of the images, in pixels."""
        return encoder_stages(self.encoder)[0][0]

    @property
    def levels(self) -> tuple[Level, ...]:
        """The decoder's blocks from the top down."""
        stages = zip(decoder_stages(self.decoder), self.widths[::-1], strict=True)
        flat = [(resolution, width) for (resolution, blocks), width in stages for _ in range(blocks)]
        return tuple(
            Level(
                resolution=resolution,
                width=width,
                next_width=flat[min(i + 1, len(flat) - 1)][1],
                is_stochastic=resolution <= self.z_max_res,
                # Published models have this projection after the last block too, where it is unused.
                feeds_prior=not self.q_correction and i + 1 < len(flat),
            )
            for i, (resolution, width) in enumerate(flat)
        )

    @property
    def latent_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(r, r, z_dim) of the latents, the smallest first."""
        stochastic = [level for level in self.levels if level.is_stochastic]
        return tuple((level.resolution, level.resolution, self.z_dim) for level in stochastic)


def encoder_stages(text: str) -> list[tuple[int, int, int]]:
    """(resolution, blocks, factor of the shrinking block or 1) of each stage; ValueError for anything else."""
    stages = [re.fullmatch(r"(\d+)b(\d+)(?:d(\d+))?", stage) for stage in text.split(",")]
    if not all(stages):
        raise ValueError(f'hvae encoder {text!r} is not a list of stages "RbNdF"; write it as "32b3d2,16b3d16,1b2"')
    return [(int(m[1]), int(m[2]), int(m[3] or 1)) for m in stages]


def decoder_stages(text: str) -> list[tuple[int, int]]:
    """(resolution, blocks) of each stage; ValueError for anything else."""
    stages = [re.fullmatch(r"(\d+)b([1-9]\d*)", stage) for stage in text.split(",")]
    if not all(stages):
        raise ValueError(f'hvae decoder {text!r} is not a list of stages "RbN"; write for example "1b2,16b4,32b4"')
    return [(int(m[1]), int(m[2])) for m in stages]


def check(config: HVAEConfig) -> None:
    """Raises ValueError for strings and options that do not fit together."""
    down, up = encoder_stages(config.encoder), decoder_stages(config.decoder)
    sides = [resolution for resolution, _, _ in down]
    for resolution in sides:
        if resolution > 1 and resolution % 2:
            raise ValueError(f"hvae resolution {resolution} is odd; use only even resolutions, and 1")
    for (resolution, _, factor), after in zip(down, [*sides[1:], None], strict=True):
        if after is not None and resolution != factor * after:
            raise ValueError(
                f"hvae encoder stage {resolution} shrinks {factor} times, which does not give the next one, {after}; "
                f"make the factor a divisor of {resolution} and the next stage {resolution} divided by it"
            )
    if sides[-1] != 1 or down[-1][2] != 1 or [resolution for resolution, _ in up] != sides[::-1]:
        raise ValueError(f"hvae decoder {config.decoder!r} must go through {sides[::-1]}, from 1, as the encoder ends")
    if down[0][1] < 1:
        raise ValueError(
            f"hvae encoder {config.encoder!r} has no block at {sides[0]} for latents to see; use at least 1"
        )
    if len(config.widths) != len(sides):
        raise ValueError(f"hvae widths {config.widths} do not go with {len(sides)} stages; give one for each")
    if min(config.widths) < config.bottleneck:
        raise ValueError(f"hvae width {min(config.widths)} is below bottleneck {config.bottleneck}; use wider stages")
    if config.likelihood == "mixture" and config.channels != 3:
        raise ValueError(f"hvae likelihood mixture is of RGB images, not {config.channels} channels; use discretised")
    if config.scale != "diagonal" and config.scale_init <= 0:
        raise ValueError(f"hvae scale {config.scale} needs scale_init above 0, not {config.scale_init}; use say 0.1")
