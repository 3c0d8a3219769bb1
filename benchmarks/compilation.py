"""Seconds, memory and communication of every program from compiling alone, each in a process of its own.

    python -m benchmarks.compilation
    python -m benchmarks.compilation --programs null_text finetune --models sd15-random --batches 4 --remat False True
    XLA_FLAGS=--xla_force_host_platform_device_count=8 JAX_PLATFORMS=cpu python -m benchmarks.compilation \
        --programs finetune --models phantom --devices 8 --fsdp 1 8 --batches 4

Nothing is allocated: weights and images are shapes. The cache is off. Seconds are of the processor, as a machine that
does other work gives the same: of tracing and lowering in Python, and of XLA. Peak memory is that of the whole process
(ru_maxrss); arguments and temporary memory are the program's own, on one device. They depend on the backend, so compile
where it will run. What is sent depends on it less: GPUs may use a reduce-scatter for an all-reduce and a slice.
"""

import dataclasses
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Literal

import jax
import jax.numpy as jnp
import tyro

from benchmarks import collectives, programs, subjects, tables, training_step
from benchmarks.programs import Setting
from prism_jax import config as configs
from prism_jax import entrypoint, sharding

HEADER = ("program", "model", "batch a device", "fsdp", "parts", "remat", "trace s", "compile s")
HEADER += ("peak of compiling GiB", "arguments GiB", "temporary GiB", "sent, by kind: times, MiB")
RUNS = ("chexpert/classifier", "mimic_cxr/image_mechanism", "phantom64/image_mechanism")
RESULT = "result of one program: "


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    programs: tuple[str, ...] = (*programs.OF_MODEL, *RUNS)
    """Programs of Stable Diffusion by name, and configs of classifiers and image mechanisms."""
    models: tuple[str, ...] = ("phantom", subjects.SD15_RANDOM)
    """phantom, sd15-random, or Diffusers folders."""
    size: int | None = None
    """Side in pixels; by default the model's."""
    batches: tuple[int, ...] = (1,)
    """Images on one device."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of Stable Diffusion."""
    remat: tuple[bool, ...] = (False,)
    """Of null_text and finetune."""
    accumulate: tuple[int, ...] = (1,)
    """Parts that a batch of finetune goes through the networks in."""
    devices: int = 1
    """Of training steps."""
    fsdp: tuple[int, ...] = (1,)
    """Devices over which one copy of the state of finetune is sharded."""
    steps: int = 50
    inner_steps: int = 10
    here: bool = False
    """Compile one program in this process, and print the row as JSON; the benchmark starts itself so."""


def main(options: Options) -> None:
    """Prints the table, anew with every row: a compilation may take minutes."""
    if options.here:
        print(RESULT + json.dumps(measured(options)), flush=True)
        return
    body = []
    for one in each(options):
        numbers = [f"{values[0]}" for values in (one.batches, one.fsdp, one.accumulate)]
        cells = [one.programs[0], one.models[0], *numbers, "on" if one.remat[0] else "off"]
        body.append([*cells, *apart(one)])
        print(tables.markdown(HEADER, body), flush=True)


def each(options: Options) -> Iterator[Options]:
    """Of one program each; options that a program does not have are varied for others alone."""
    for name in options.programs:
        is_of_model, is_finetune = name in programs.OF_MODEL, name == "finetune"
        varied = {
            "models": options.models if is_of_model else ("",),
            "fsdp": options.fsdp if is_finetune else (1,),
            "accumulate": options.accumulate if is_finetune else (1,),
            "remat": options.remat if name in ("null_text", "finetune") else (False,),
            "batches": options.batches,
        }
        devices = options.devices if is_finetune or not is_of_model else 1
        for values in itertools.product(*varied.values()):
            chosen = {key: (value,) for key, value in zip(varied, values, strict=True)}
            yield dataclasses.replace(options, programs=(name,), devices=devices, **chosen)


def apart(one: Options) -> list[str]:
    """`measured` in a new process, without the compilation cache; "-" where it fails."""
    command = [sys.executable, "-m", "benchmarks.compilation", "--here"]
    for name, value in dataclasses.asdict(one).items():
        if name != "here" and value is not None:
            command += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    environment = os.environ | {entrypoint.CACHE: ""}
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    rows = [line.removeprefix(RESULT) for line in ended.stdout.splitlines() if line.startswith(RESULT)]
    return json.loads(rows[0]) if rows else ["-"] * 6


def measured(one: Options) -> list[str]:
    """Seconds of tracing and of XLA, peak memory of the process, memory and communication of the program."""
    compiled, found = programs.compiled(program(one), time.process_time)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sizes = (peak, found["arguments"] / 2**30, found["temporary"] / 2**30)
    sent = collectives.sent(collectives.count(compiled.as_text()) if one.devices > 1 else {})
    return [*(f"{found[name]:.1f}" for name in ("trace", "compile")), *(f"{size:.4g}" for size in sizes), sent]


def program(one: Options) -> programs.Program:
    """The one program of the options.

    Raises:
      ValueError: more devices than there are.
    """
    name, batch, fsdp = one.programs[0], one.batches[0] * one.devices, one.fsdp[0]
    if one.devices > len(jax.devices()):
        raise ValueError(
            f"devices {one.devices} are more than the {len(jax.devices())} that are here; on a CPU set "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={one.devices}"
        )
    mesh = sharding.make_mesh(jax.devices()[: one.devices], fsdp=fsdp)
    if name not in programs.OF_MODEL:
        run = dataclasses.replace(configs.load(name), batch_size=batch)
        return programs.of_step(training_step.of_run(run, mesh))
    sd = subjects.abstract(one.models[0], jnp.dtype(one.dtype), remat=one.remat[0])
    counts = dict(steps=one.steps, inner_steps=one.inner_steps, accumulate=one.accumulate[0])
    setting = Setting(sd=sd, batch=batch, size=one.size or sd.size, **counts)
    options = dict(mesh=mesh, fsdp=fsdp) if name == "finetune" else {}
    return programs.OF_MODEL[name](setting, **options)


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(lambda: main(tyro.cli(Options, prog="python -m benchmarks.compilation"))))
