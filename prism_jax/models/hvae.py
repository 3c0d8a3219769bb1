"""The hierarchical VAE that is the image mechanism (De Sousa Ribeiro et al., ICML 2023, arXiv 2306.15764).

The decoder's state h depends on latents and parents; a second path carries the latents alone and is the input of an
exogenous model's prior, so that p(z_i | z_<i) cannot depend on the parents.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct

from prism_jax.models.hvae_blocks import Bias, Block, DecoderBlock, Gaussian, ParentMaps, conv, enlarged, joined
from prism_jax.models.hvae_config import HVAEConfig, encoder_stages
from prism_jax.models.hvae_heads import GaussianHead, MixtureHead

Choose = Callable[[int, Gaussian, Gaussian | None], jax.Array]
"""(index of the latent, its prior, its posterior where an image is given) -> the latent."""


@struct.dataclass
class Descent:
    """Result of one pass through the decoder. Tuples have one entry for each latent, the smallest resolution first."""

    state: jax.Array  # [b, h, w, widths[0]], input of the head
    latents: tuple[jax.Array, ...]  # float32 [b, r, r, z_dim]
    priors: tuple[Gaussian, ...]
    posteriors: tuple[Gaussian | None, ...]  # None but for `infer`


class Encoder(nnx.Module):
    """Images to the last activation of each resolution."""

    def __init__(self, config: HVAEConfig, *, rngs: nnx.Rngs):
        stages, widths = encoder_stages(config.encoder), config.widths
        self.stem = conv(config.channels, widths[0], 7, dtype=config.dtype, rngs=rngs)
        plan = []  # (width, factor)
        for i, (_, blocks, factor) in enumerate(stages):
            plan += [(widths[i], 1)] * blocks + ([(widths[i + 1], factor)] if factor > 1 else [])
        before = [plan[0][0], *(width for width, _ in plan)]
        gain = float(np.sqrt(1 / len(plan)))
        self.blocks = nnx.List(
            Block(b, b // config.bottleneck, width, kernel=3, config=config, down=factor, gain=gain, rngs=rngs)
            for b, (width, factor) in zip(before, plan, strict=False)
        )

    def __call__(self, x: jax.Array) -> dict[int, jax.Array]:
        """Maps `[b, h, w, c]` in [-1, 1] to resolution -> `[b, r, r, width]`."""
        x = self.stem(x)
        features = {}
        for block in self.blocks:
            x = block(x)
            features[x.shape[1]] = x
        return features


class Decoder(nnx.Module):
    """Latents and parents to the state that pixels are read from."""

    def __init__(self, config: HVAEConfig, *, rngs: nnx.Rngs):
        levels = config.levels
        self.config = config
        self.blocks = nnx.List(DecoderBlock(level, blocks=len(levels), config=config, rngs=rngs) for level in levels)
        widths = {level.resolution: level.width for level in levels}
        self.bias = nnx.List(Bias((1, r, r, width)) for r, width in widths.items() if r <= config.bias_max_res)
        mapped = [(r, width) for r, width in widths.items() if 1 < r <= config.parents_max_res]
        self.parent_maps = nnx.List(ParentMaps(config.parents, r, width) for r, width in mapped)

    def __call__(
        self,
        parents: jax.Array,
        choose: Choose,
        skips: Mapping[int, jax.Array] | None = None,
        prior_parents: jax.Array | None = None,
    ) -> Descent:
        """Top-down pass with the latents of `choose`; `parents` and `prior_parents` (None: the same) are [b, p]."""
        config = self.config
        bias = {each.bias.shape[1]: each for each in self.bias}
        maps = {each.maps.shape[1]: each for each in self.parent_maps}
        parents = parents.astype(config.dtype)
        prior_parents = parents if prior_parents is None else prior_parents.astype(config.dtype)
        h = z = bias[1](jnp.zeros((len(parents), 1, 1, config.levels[0].width), config.dtype))
        latents, priors, posteriors = [], [], []
        for block, level in zip(self.blocks, config.levels, strict=True):
            r = level.resolution
            is_first = h.shape[1] != r
            h, z, pa = _at(h, r, bias), _at(z, r, bias), broadcast_parents(parents, r)
            h = h + maps[r](parents) if is_first and r in maps else h
            prior, features = block.prior_of(self._prior_input(h, z, prior_parents))
            latent = prior.loc
            if level.is_stochastic:
                posterior = None if skips is None else block.posterior_of(h, pa, skips[r])
                latent = choose(len(latents), prior, posterior)
                latents, priors, posteriors = [*latents, latent], [*priors, prior], [*posteriors, posterior]
            latent = latent.astype(config.dtype)
            h = block.advance(h, latent, features, pa)
            z = block.latent_path(latent, features)
        return Descent(state=h, latents=tuple(latents), priors=tuple(priors), posteriors=tuple(posteriors))

    def _prior_input(self, h: jax.Array, z: jax.Array, parents: jax.Array) -> jax.Array:
        x = h if self.config.q_correction else z
        return joined(x, broadcast_parents(parents, x.shape[1])) if self.config.conditional_prior else x


class HVAE(nnx.Module):
    """Hierarchical VAE with the three passes of inference: posterior, prior, and given latents. Pure."""

    def __init__(self, config: HVAEConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)
        head = MixtureHead if config.likelihood == "mixture" else GaussianHead
        self.head = head(config, rngs=rngs)

    def infer(
        self,
        x: jax.Array,
        parents: jax.Array,
        noise: Sequence[jax.Array],
        *,
        temperature: float | jax.Array = 1.0,
        prior_parents: jax.Array | None = None,
    ) -> Descent:
        """Latents of the posterior: z_i = q_loc + temperature q_scale noise_i.

        Args:
          x: float32 [b, h, w, c] in [-1, 1].
          parents: float32 [b, p], scaled as the model was trained.
          noise: standard normal, of `config.latent_shapes`, each [b, r, r, z_dim].
          prior_parents: other parents for the conditional prior alone.

        Raises:
          ValueError: images or parents of another shape than the model's.
        """
        self._check(parents, x)
        choose = lambda i, prior, posterior: posterior.at(noise[i], temperature)
        return self.decoder(parents, choose, self.encoder(x.astype(self.config.dtype)), prior_parents)

    def sample(
        self, parents: jax.Array, noise: Sequence[jax.Array], *, temperature: float | jax.Array = 1.0
    ) -> Descent:
        """Latents of the prior, from the top down: z_i = p_loc + temperature p_scale noise_i."""
        self._check(parents)
        return self.decoder(parents, lambda i, prior, _: prior.at(noise[i], temperature))

    def decode(self, latents: Sequence[jax.Array], parents: jax.Array) -> Descent:
        """Decodes given latents, for example of another `Descent`."""
        self._check(parents)
        return self.decoder(parents, lambda i, prior, _: latents[i])

    def _check(self, parents: jax.Array, x: jax.Array | None = None) -> None:
        config = self.config
        if parents.ndim != 2 or parents.shape[1] != config.parents:
            raise ValueError(f"parents of shape {parents.shape} do not fit the model; give [b, {config.parents}]")
        wanted = (config.size, config.size, config.channels)
        if x is not None and x.shape != (len(parents), *wanted):
            raise ValueError(f"images of shape {x.shape} do not fit the model; give {(len(parents), *wanted)}")


def broadcast_parents(parents: jax.Array, resolution: int) -> jax.Array:
    """The vectors [b, p] as constant maps [b, r, r, p]."""
    return jnp.broadcast_to(parents[:, None, None], (len(parents), resolution, resolution, parents.shape[1]))


def _at(x: jax.Array | None, resolution: int, bias: Mapping[int, Bias]) -> jax.Array | None:
    """`x` at a resolution: enlarged if smaller, plus the learned map of that resolution."""
    if x is None or x.shape[1] == resolution:
        return x
    x = enlarged(x, resolution)
    return x + bias[resolution](x) if resolution in bias else x
