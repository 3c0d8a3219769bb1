"""Memory and communication of the training step from compilation alone: nothing is allocated.

    python -m benchmarks.training_compiled --model sd15-random --size 512 --dtype bfloat16 --batches 8 16 32 64
    XLA_FLAGS=--xla_force_host_platform_device_count=8 JAX_PLATFORMS=cpu python -m benchmarks.training_compiled \
        --devices 8 --fsdp 1 8 --batches 4

Temporary memory depends on the backend, so compile where it will run. Communication depends on it less: GPUs may use a
reduce-scatter where CPUs use an all-reduce and a slice.
"""

import dataclasses
import itertools
import sys
from typing import Literal

import jax
import jax.numpy as jnp
import tyro

from benchmarks import collectives, tables, training_step
from prism_jax import entrypoint, sharding
from prism_jax.sharding import ShardingConfig

HEADER = [
    "batch a device",
    "fsdp",
    "parts",
    "remat",
    "arguments MiB",
    "temporary MiB",
    "sent, by kind: times, MiB",
    "compile s",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the compiled program."""

    model: str = "phantom"
    """Diffusers folder, or sd15-random."""
    size: int | None = None
    """Side in pixels; by default the model's."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    batches: tuple[int, ...] = (4, 16)
    """Images on one device, in one update."""
    remat: tuple[bool, ...] = (False,)
    accumulate: tuple[int, ...] = (1,)
    """Parts that a batch goes through the networks in."""
    devices: int = 1
    fsdp: tuple[int, ...] = (1,)
    """Devices over which one copy of the state is sharded."""


def main(options: Options) -> None:
    """Prints the table, anew with every row: a compilation may take minutes."""
    if options.devices > len(jax.devices()):
        raise ValueError(
            f"devices {options.devices} are more than the {len(jax.devices())} that are here; on a CPU set "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={options.devices}"
        )
    body = []
    for fsdp, parts, remat, batch in itertools.product(
        options.fsdp, options.accumulate, options.remat, options.batches
    ):
        cells = [f"{batch}", f"{fsdp}", f"{parts}", "on" if remat else "off"]
        body.append([*cells, *row(options, batch, fsdp=fsdp, parts=parts, remat=remat)])
        print(tables.markdown(HEADER, body), flush=True)


def row(options: Options, batch: int, *, fsdp: int, parts: int, remat: bool) -> list[str]:
    """Memory per device, communication and seconds of compilation of one training step."""
    sd = training_step.abstract(options.model, jnp.dtype(options.dtype), remat=remat)
    mesh = sharding.make_mesh(jax.devices()[: options.devices], fsdp=fsdp)
    shapes = training_step.shapes(sd, batch * options.devices, options.size or sd.size)
    step, config = training_step.of(sd, accumulate=parts), ShardingConfig(fsdp=fsdp)
    return collectives.compiled_cells(lambda: training_step.lowered(step, shapes, mesh, config))


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(lambda: main(tyro.cli(Options, prog="python -m benchmarks.training_compiled"))))
