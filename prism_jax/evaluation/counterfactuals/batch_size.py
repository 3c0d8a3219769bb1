"""Largest batch that fits device memory, by the compiler's memory analysis, before anything runs."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from prism_jax import sharding
from prism_jax.data import transforms
from prism_jax.evaluation.counterfactuals import cohort
from prism_jax.evaluation.counterfactuals.cohort import Cohort

LARGEST = 64  # images a device
USABLE = 0.9  # of the memory; the allocator's gaps and images waiting to be written take the rest
# Programs compiled only for their size need no autotuning, the slowest part on GPUs.
UNTUNED = {"xla_gpu_autotune_level": 0}


def fitting(needed: Callable[[int], int], memory: int, *, largest: int = LARGEST) -> int:
    """The largest power of two of images, up to `largest`, that fits a device with `memory` bytes.

    `needed(n)` returns the bytes for `n` images. It compiles, so few are tried: bytes grow almost linearly.

    Raises:
      ValueError: even one image does not fit.
    """
    needed, limit = functools.cache(needed), int(USABLE * memory)
    if needed(1) > limit:
        gib = [f"{size / 2**30:.3g}" for size in (needed(1), memory)]
        raise ValueError(f"one image needs {gib[0]} GiB, the device has {gib[1]}; use bfloat16 or fewer edits")
    batch = 2 ** int(math.log2(largest))
    while batch > 2 and needed(1) + (batch - 1) * (needed(2) - needed(1)) > limit:
        batch //= 2
    while batch > 1 and needed(batch) > limit:
        batch //= 2
    return batch


def needed_bytes(work: Cohort, batch: int) -> int:
    """Bytes on one device, weights included, with `batch` images per device."""
    devices = 1 if work.mesh is None else work.mesh.size
    count = batch * devices
    side = transforms.frame(work.sd.size, factor=work.sd.vae.config.factor)
    over = work.mesh and sharding.batch_sharding(work.mesh)
    pixels = jax.ShapeDtypeStruct((count, *side, 3), jnp.float32, sharding=over)
    networks = {name: getattr(work.sd, name) for name in ("unet", "vae", "text_encoder")}
    scorer = work.scorer and {"clip": work.scorer.clip}

    # Networks are arguments: as constants they would be copied into the program.
    def program(networks: dict[str, Any], clip: dict[str, Any] | None, pixels: jax.Array) -> dict[str, Any]:
        sd = dataclasses.replace(work.sd, **networks)
        scorer = clip and dataclasses.replace(work.scorer, **clip)
        config = dataclasses.replace(work.config, batch_size=count)
        sized = dataclasses.replace(work, config=config, sd=sd, scorer=scorer, store=None)
        return cohort.edit_batch(sized, [work.subjects[0]] * count, pixels)

    options = UNTUNED if jax.default_backend() == "gpu" else None
    with cohort.announced(work.mesh):
        compiled = jax.jit(program).lower(networks, scorer, pixels).compile(compiler_options=options)
    memory = compiled.memory_analysis()
    return memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes


def device_memory() -> int:
    """Bytes that JAX may use on one device; on CPUs an equal part of the free host memory."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // len(jax.local_devices())
