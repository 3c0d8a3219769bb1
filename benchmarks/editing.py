"""Seconds per image of every inversion method and its edit, and of PyTorch diffusers in the same run.

    python -m benchmarks.editing --methods null_text direct --batches 1 4 16 --steps 10 --inner-steps 5 --peer torch

Work is fixed: null-text tuning never stops early. Ours is the public API, with the words of its prompts; the peer is
given embeddings and tables. Repeats alternate between the two; the peer waits in a process of its own.
"""

import dataclasses
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import tyro
from jax.sharding import Mesh

from benchmarks import agreement, peer, subjects, tables, timing, work
from benchmarks.peer import Mode
from benchmarks.tables import Row
from prism_jax import editing, entrypoint, flops
from prism_jax.stable_diffusion import StableDiffusion


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
    peer_modes: tuple[Mode, ...] = ("eager",)
    peer_batches: tuple[int, ...] | None = None
    """By default ours; compiling takes minutes for each."""
    peer_channels_last: bool = False
    peer_python: str | None = None
    """Interpreter with PyTorch and diffusers; by default this one."""
    out: Path | None = None
    """File for everything measured, as JSON."""


def main(options: Options) -> None:
    """Measures, and prints the tables of RESULTS.md."""
    _check(options)
    entrypoint.use_cpu_well()
    sd = subjects.load(options.model, jnp.dtype(options.dtype), remat=options.remat)
    size = options.size or sd.size
    peak = flops.matrix_peak(jnp.dtype(options.dtype))
    timing.say(f"matrix peak in {options.dtype}: {peak / 1e12:.3g} TFLOP/s")
    with tempfile.TemporaryDirectory() as scratch:
        rows, agreed = measure(options, sd, size, Path(scratch))
    side = sd.latent_shape(size, size)[0]
    hand, compiler = (work.unit_costs(sd.unet.config, side, count) for count in (flops.by_hand, work.by_compiler))
    sizes = dict(steps=options.steps, inner_steps=options.inner_steps)
    operations = {method: work.totals(method, hand, **sizes) for method in options.methods}
    print(tables.speeds(rows, ("invert", "edit"), operations, peak))
    print()
    print(tables.counts(options.methods, (hand, compiler), **sizes))
    print(f"\nmatrix peak {peak / 1e12:.3g} TFLOP/s ({options.dtype})\n{tables.speedup(rows)}")
    if options.out:
        counts = {"by_hand": dataclasses.asdict(hand), "by_compiler": dataclasses.asdict(compiler)}
        timing.write(options.out, options, rows, peak=peak, agreement=agreed, **counts)


def measure(
    options: Options, sd: StableDiffusion, size: int, scratch: Path
) -> tuple[list[Row], dict[str, float] | None]:
    """The rows of all methods and batch sizes, and how far the peer's results are from ours."""
    build = lambda batch: subjects.case(sd, batch, size=size, is_drawn=options.model != subjects.SD15_RANDOM)
    rows = lambda torch: [row for b in options.batches for row in batch_rows(options, sd, build(b), torch, scratch)]
    if options.peer == "none":
        return rows(None), None
    request = {"python": options.peer_python, "channels_last": options.peer_channels_last}
    with peer.started("peer_torch", sd, options.model, scratch, **request) as torch:
        sizes = dict(steps=options.steps, guidance=options.guidance)
        agreed = agreement.of_editing(sd, torch, build(1), scratch, **sizes, inner_steps=options.inner_steps)
        for method in sorted(set(options.methods) - {"null_text"}):
            agreed |= agreement.of_method(sd, torch, build(1), scratch, method, **sizes)
        timing.check_agreement(agreed, agreement.EDITING_BOUNDS, options.dtype)
        return rows(torch), agreed


def batch_rows(
    options: Options,
    sd: StableDiffusion,
    case: subjects.Case,
    torch: peer.Peer | None,
    scratch: Path,
    until: float = math.inf,
) -> Iterator[Row]:
    """The rows of one batch: of every method, ours and the peer's.

    See `timing.alternated` for `until`; with it first calls are shorter runs, which do not tell seconds of compilation.
    """
    batch, file = len(case.latents), scratch / "case.npz"
    mesh = subjects.mesh(batch)
    ours = sd if mesh is None else sd.on(mesh)
    is_peered = torch is not None and batch in (options.peer_batches or options.batches)
    if is_peered:
        peer.write_case(sd, case, file, steps=options.steps)
    for method in options.methods:
        runs = {timing.OURS: partial(own_run, options, ours, case, method, mesh)}
        firsts = {timing.OURS: partial(own_run, options, ours, case, method, mesh, tolerance=math.inf)}
        for mode in options.peer_modes if is_peered else ():
            runs[f"torch {mode}"] = partial(peer_run, options, torch, file, mode, method)
            firsts[f"torch {mode}"] = partial(peer_warm, options, torch, file, mode, method)
        facts = dict(setting=method, batch=batch, images=batch, remat=options.remat)
        firsts = firsts if until < math.inf else None
        yield from timing.alternated(runs, options.repeats, firsts=firsts, until=until, **facts)


def own_run(
    options: Options,
    sd: StableDiffusion,
    case: subjects.Case,
    method: str,
    mesh: Mesh | None,
    *,
    tolerance: float = -1.0,
) -> tuple[float, float]:
    """Seconds that inversion and edit of the batch take. No loss reaches the `tolerance` -1, each does infinity."""
    start = time.perf_counter()
    inversion = editing.invert(
        sd,
        case.latents,
        case.prompts,
        method=method,
        steps=options.steps,
        guidance=options.guidance,
        inner_steps=options.inner_steps,
        tolerance=tolerance,
        mesh=mesh,
    )
    jax.block_until_ready(inversion.null_context)
    middle = time.perf_counter()
    jax.block_until_ready(editing.edit(sd, inversion, case.edits, mesh=mesh).latents)
    return middle - start, time.perf_counter() - middle


def peer_run(
    options: Options, torch: peer.Peer, file: Path, mode: str, method: str, **changed: Any
) -> tuple[float, float]:
    """The same of the peer, by its own clock; `changed` are other values of its request."""
    request = {"case": str(file), "mode": mode, "method": method, "guidance": options.guidance}
    answer = torch.ask(request | {"inner_steps": options.inner_steps} | changed)
    return answer["invert"], answer["edit"]


def peer_warm(options: Options, torch: peer.Peer, file: Path, mode: str, method: str) -> None:
    """A short run of the peer with all its programs: some steps of every kind of attention control, one update."""
    rows = sorted({round(i * (options.steps - 1) / 3) for i in range(4)})
    peer_run(options, torch, file, mode, method, rows=rows, inner_steps=1)


def _check(options: Options) -> None:
    unknown = sorted(set(options.methods) - set(editing.inversion.METHODS))
    if unknown:
        raise ValueError(f"method {unknown[0]!r} is unknown; use one of {', '.join(editing.inversion.METHODS)}")
    for name in ("steps", "inner_steps", "repeats"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} is {getattr(options, name)}; use 1 or more")


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(lambda: main(tyro.cli(Options, prog="python -m benchmarks.editing"))))
