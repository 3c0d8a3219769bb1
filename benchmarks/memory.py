"""Device memory of null-text inversion by batch size, with and without remat, from compiling alone.

    python -m benchmarks.memory --model sd15-random --size 512 --dtype bfloat16 --batches 1 4 8 16 32

Nothing is allocated: weights and latents are shapes. Temporary memory depends on the backend, so compile where it
will run.
"""

import dataclasses
import sys
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import tyro

from benchmarks import collectives, subjects, tables
from benchmarks.work import TOKENS
from prism_jax import entrypoint
from prism_jax.diffusion import ddim
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.editing import inversion
from prism_jax.editing.inversion import _invert
from prism_jax.models.unet import UNet2DCondition, UNetConfig
from prism_jax.pretrained import folder as pretrained_folder
from prism_jax.weights import pretrained

VAE_FACTOR = 8
HEADER = ("batch", "remat", "arguments MiB", "temporary MiB", "sent: times, MiB", "compile s")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    model: str = subjects.SD15_RANDOM
    """Diffusers folder, or sd15-random."""
    size: int = 512
    """Side in pixels."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    batches: tuple[int, ...] = (1, 4, 8, 16, 32)
    remat: tuple[bool, ...] = (False, True)
    steps: int = 50
    inner_steps: int = 10


def main(options: Options) -> None:
    """Prints the table."""
    body = []
    for remat in options.remat:
        for batch in options.batches:
            cells = collectives.compiled_cells(partial(lowered, options, batch, remat))
            body.append([f"{batch}", "on" if remat else "off", *cells])
            print(tables.markdown(HEADER, body), flush=True)


def lowered(options: Options, batch: int, remat: bool) -> jax.stages.Lowered:
    """Null-text inversion of `batch` images, before compilation."""
    config = unet_config(options.model, jnp.dtype(options.dtype), remat)
    arguments = shapes(config, batch, options.size // VAE_FACTOR, options.steps)
    return _invert.lower(*arguments, method="null_text", inner_steps=options.inner_steps, mesh=None)


def shapes(config: UNetConfig, batch: int, side: int, steps: int) -> tuple:
    """Shapes of the inversion program's arguments."""
    shaped = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    contexts = (shaped(n, TOKENS, config.cross_attention_dim) for n in (batch, 1))
    latents = shaped(batch, side, side, config.in_channels)
    table = ddim.ddim_table(NoiseSchedule.create(ScheduleConfig()), steps)
    numbers = {name: shaped() for name in ("guidance", "tolerance")}
    options = inversion.Options(**numbers, key=jax.eval_shape(lambda: jax.random.key(0)))
    return pretrained.abstract(UNet2DCondition, config), latents, *contexts, table, options


def unet_config(model: str, dtype: jnp.dtype, remat: bool) -> UNetConfig:
    """The UNet's options, without its weights."""
    if model == subjects.SD15_RANDOM:
        return UNetConfig(dtype=dtype, remat=remat)
    return UNetConfig.from_dict(
        pretrained.read_json(pretrained_folder(model) / "unet" / "config.json"), dtype=dtype, remat=remat
    )


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(lambda: main(tyro.cli(Options, prog="python -m benchmarks.memory"))))
