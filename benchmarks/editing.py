"""Seconds per image of every inversion method and its edit, and of PyTorch diffusers in the same run.

    python -m benchmarks.editing --methods null_text direct --batches 1 4 16 --steps 10 --inner-steps 5 --peer torch

Work is fixed: null-text tuning never stops early. Ours is the public API, with the words of its prompts; the peer is
given embeddings and tables. Repeats alternate between the two; the peer waits in a process of its own.
"""

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import tyro

from benchmarks import agreement, peer, subjects, tables, work
from benchmarks.tables import Row
from prism_jax import editing, entrypoint, flops
from prism_jax.report.versions import versions
from prism_jax.stable_diffusion import StableDiffusion

OURS = "prism_jax"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    model: str = "phantom"
    """Diffusers folder, or sd15-random: SD 1.5's networks with random weights."""
    methods: tuple[str, ...] = ("null_text", "direct")
    batches: tuple[int, ...] = (1, 4, 16)
    steps: int = 10
    """Diffusion steps, each way."""
    inner_steps: int = 5
    """Updates of null_text per diffusion step."""
    guidance: float = 7.5
    size: int | None = None
    """Side in pixels; by default the model's."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the networks on both sides."""
    remat: bool = False
    """Our UNet recomputes its blocks in the backward pass."""
    repeats: int = 3
    peer: Literal["none", "torch"] = "none"
    peer_modes: tuple[str, ...] = ("eager",)
    """eager, compile."""
    peer_batches: tuple[int, ...] | None = None
    """By default ours; compiling takes minutes for each."""
    peer_channels_last: bool = False
    peer_python: str | None = None
    """Interpreter with PyTorch and diffusers; by default this one."""
    check: bool = True
    """Compare the peer's results with ours first, on one image."""
    compiler_count: bool = True
    """Count operations by the compiler too; compiles four programs of one UNet call."""
    out: Path | None = None
    """File for everything measured, as JSON."""


def main(options: Options) -> None:
    """Measures, and prints the tables of RESULTS.md."""
    _check(options)
    sd = subjects.load(options.model, jnp.dtype(options.dtype), remat=options.remat)
    size = options.size or sd.size
    peak = flops.matrix_peak(jnp.dtype(options.dtype))
    say(f"matrix peak in {options.dtype}: {peak / 1e12:.3g} TFLOP/s")
    with tempfile.TemporaryDirectory() as scratch:
        rows, agreed = measure(options, sd, size, Path(scratch))
    side = sd.latent_shape(size, size)[0]
    hand = work.unit_costs(sd.unet.config, side, flops.by_hand)
    compiler = work.unit_costs(sd.unet.config, side, work.by_compiler) if options.compiler_count else None
    sizes = dict(steps=options.steps, inner_steps=options.inner_steps)
    operations = {method: work.totals(method, hand, **sizes) for method in options.methods}
    print(tables.speeds(rows, operations, peak))
    print()
    print(tables.counts(options.methods, hand, compiler, **sizes))
    print(f"\nmatrix peak {peak / 1e12:.3g} TFLOP/s ({options.dtype})\n{tables.speedup(rows)}")
    if options.out:
        _write(options, rows, agreed, peak, hand, compiler)


def measure(
    options: Options, sd: StableDiffusion, size: int, scratch: Path
) -> tuple[list[Row], dict[str, float] | None]:
    """The rows of all methods and batch sizes, and how far the peer's results are from ours."""
    build = lambda batch: subjects.case(sd, batch, size=size, is_drawn=options.model != subjects.SD15_RANDOM)
    if options.peer == "none":
        return [row for b in options.batches for row in batch_rows(options, sd, build(b), None, scratch)], None
    start = dict(python=options.peer_python, channels_last=options.peer_channels_last)
    with peer.started(sd, options.model, scratch, **start) as torch:
        agreed = checked(options, sd, torch, build(1), scratch) if options.check else None
        return [row for b in options.batches for row in batch_rows(options, sd, build(b), torch, scratch)], agreed


def checked(
    options: Options, sd: StableDiffusion, torch: peer.Peer, case: subjects.Case, scratch: Path
) -> dict[str, float]:
    """Prints how far the peer is from ours. ValueError where it is too far for float32."""
    sizes = dict(steps=options.steps, guidance=options.guidance, inner_steps=options.inner_steps)
    found = agreement.compare(sd, torch, case, scratch, **sizes)
    jax.clear_caches()  # else the first call that is timed would find its program compiled
    for name, value in found.items():
        say(f"peer, {name}: {value:.2g} apart (bound in float32 {agreement.BOUNDS[name]:g})")
    far = [name for name, value in found.items() if not value <= agreement.BOUNDS[name]]
    if far and options.dtype == "float32":
        raise ValueError(f"the peer computes something else: {', '.join(far)}")
    return found


def batch_rows(
    options: Options, sd: StableDiffusion, case: subjects.Case, torch: peer.Peer | None, scratch: Path
) -> Iterator[Row]:
    """The rows of one batch: of every method, and of the peer with null_text."""
    batch, file = len(case.latents), scratch / "case.npz"
    is_peered = torch is not None and batch in (options.peer_batches or options.batches)
    if is_peered:
        peer.write_case(sd, case, file, steps=options.steps)
    for method in options.methods:
        runs = {OURS: lambda method=method: own_run(options, sd, case, method)}
        if is_peered and method == "null_text":
            runs |= {f"torch {m}": lambda m=m: peer_run(options, torch, file, m) for m in options.peer_modes}
        yield from alternated(runs, method, batch, options.repeats)


def alternated(runs: dict, method: str, batch: int, repeats: int) -> Iterator[Row]:
    """One row per program, from repeats in turn after a first call of each; those that fail are left out."""
    first = {}
    for name, run in runs.items():
        start = time.perf_counter()
        try:
            run()
        except (RuntimeError, MemoryError) as error:  # XLA's and the peer's lack of memory
            say(f"{method}, batch {batch}, {name}: {str(error).splitlines()[0]}")
            continue
        first[name] = time.perf_counter() - start
    taken = {name: [] for name in first}
    for _ in range(repeats):
        for name, times in taken.items():
            times.append(runs[name]())
    for name, times in taken.items():
        invert, edit = zip(*times, strict=True)
        row = Row(method=method, program=name, batch=batch, first=first[name], invert=invert, edit=edit)
        say(f"{method}, batch {batch}, {name}: {sum(row.per_image):.4g} s/image after {row.compile:.1f} s")
        yield row


def own_run(options: Options, sd: StableDiffusion, case: subjects.Case, method: str) -> tuple[float, float]:
    """Seconds that inversion and edit of the batch take."""
    start = time.perf_counter()
    inversion = editing.invert(
        sd,
        case.latents,
        case.prompts,
        method=method,
        steps=options.steps,
        guidance=options.guidance,
        inner_steps=options.inner_steps,
        tolerance=-1.0,  # never reached
    )
    jax.block_until_ready(inversion.null_context)
    middle = time.perf_counter()
    jax.block_until_ready(editing.edit(sd, inversion, case.edits).latents)
    return middle - start, time.perf_counter() - middle


def peer_run(options: Options, torch: peer.Peer, file: Path, mode: str) -> tuple[float, float]:
    """The same of the peer, by its own clock."""
    request = {"case": str(file), "mode": mode, "guidance": options.guidance, "inner_steps": options.inner_steps}
    answer = torch.ask(request)
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer["invert"], answer["edit"]


def say(line: str) -> None:
    """Prints progress to stderr."""
    print(line, file=sys.stderr, flush=True)


def _check(options: Options) -> None:
    peer.modes(options.peer_modes)
    unknown = sorted(set(options.methods) - set(editing.inversion.METHODS))
    if unknown:
        raise ValueError(f"method {unknown[0]!r} is unknown; use one of {', '.join(editing.inversion.METHODS)}")
    for name in ("steps", "inner_steps", "repeats"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} is {getattr(options, name)}; use 1 or more")


def _write(options, rows, agreed, peak, hand, compiler) -> None:
    written = {
        "options": dataclasses.asdict(options) | {"out": str(options.out)},
        "versions": versions(),
        "peak": peak,
        "agreement": agreed,
        "by_hand": dataclasses.asdict(hand),
        "by_compiler": dataclasses.asdict(compiler) if compiler else None,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(written, indent=2) + "\n")


def run() -> None:
    options = tyro.cli(Options, prog="python -m benchmarks.editing")
    main(options)


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(run))
