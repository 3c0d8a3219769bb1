"""Images a second of the fine-tuning step, beside PyTorch diffusers' in the same run.

    python -m benchmarks.training --batches 4 16 --peer torch --peer-modes eager compile

Both sides train the whole UNet with AdamW and an average, text encoder and VAE frozen, on a batch that lies on the
device already: reading files is left out. Repeats alternate between the two; the peer waits in a process of its own.
"""

import dataclasses
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks import peer as peers
from benchmarks import training_peer, training_step, training_tables
from benchmarks.editing import OURS, say
from benchmarks.peer import Peer
from benchmarks.training_step import TrainingStep
from benchmarks.training_tables import Row
from prism_jax import entrypoint, flops, rng, sharding
from prism_jax.report.versions import versions
from prism_jax.sharding import ShardingConfig
from prism_jax.stable_diffusion import StableDiffusion


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    model: str = "phantom"
    """Diffusers folder, or sd15-random: SD 1.5's networks with random weights."""
    batches: tuple[int, ...] = (4, 16)
    cached: tuple[bool, ...] = (True, False)
    """True: from latents; False: images are encoded before every step."""
    remat: tuple[bool, ...] = (False,)
    """Recompute the UNet's blocks in the backward pass, on both sides."""
    size: int | None = None
    """Side in pixels; by default the model's."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the computation; parameters are float32. The peer's, by autocast."""
    steps: int = 2
    """In one repeat."""
    repeats: int = 5
    peer: Literal["none", "torch"] = "none"
    peer_modes: tuple[str, ...] = ("eager",)
    """eager, compile."""
    peer_channels_last: bool = True
    peer_python: str | None = None
    """Interpreter with PyTorch, diffusers and transformers; by default this one."""
    check: bool = True
    """Compare two steps of the peer with ours first."""
    out: Path | None = None
    """File for everything measured, as JSON."""


class Training:
    """Our side at one batch. A class because it holds the state that every step donates."""

    def __init__(self, made: TrainingStep, images: Mapping[str, np.ndarray], *, is_cached: bool):
        mesh = sharding.make_mesh(jax.devices()[:1])
        self._mesh, self._is_cached = mesh, is_cached
        self._step = training_step.jitted(made, mesh, ShardingConfig())
        self._encode = jax.jit(made.encode)
        everywhere = sharding.replicated(mesh)
        placed = jax.device_put((made.frozen, rng.key(0), np.int32(0)), everywhere)
        self._frozen, self._key, self._number = placed
        self.batch = jax.device_put(dict(images), everywhere)
        if is_cached:
            self.batch = self._encode(self._frozen, self.batch, self._key, self._number)
        self.state = jax.jit(made.create)(made.params)

    def seconds(self, steps: int) -> float:
        """Of one step, over `steps` of them."""
        start = time.perf_counter()
        with jax.set_mesh(self._mesh):
            for _ in range(steps):
                batch = self.batch
                if not self._is_cached:
                    batch = self._encode(self._frozen, batch, self._key, self._number)
                self.state, metrics = self._step(self.state, self._frozen, batch, self._key)
        jax.block_until_ready((self.state, metrics))
        return (time.perf_counter() - start) / steps


def main(options: Options) -> None:
    """Measures, and prints the table of RESULTS.md."""
    peers.modes(options.peer_modes)
    dtype = jnp.dtype(options.dtype)
    peak = flops.matrix_peak(dtype)
    say(f"matrix peak in {options.dtype}: {peak / 1e12:.3g} TFLOP/s")
    sd = training_step.load(options.model, dtype)
    size = options.size or sd.size
    with tempfile.TemporaryDirectory() as scratch:
        rows, agreed = measure(options, sd, size, Path(scratch))
    operations = flops.unet_training(sd.unet.config, sd.latent_shape(size, size)[0])
    print(training_tables.speeds(rows, operations, peak))
    print(f"\nmatrix peak {peak / 1e12:.3g} TFLOP/s ({options.dtype}), {operations / 1e9:.4g} GFLOP an image")
    print(training_tables.speedup(rows))
    if options.out:
        _write(options, rows, agreed, peak, operations)


def measure(
    options: Options, sd: StableDiffusion, size: int, scratch: Path
) -> tuple[list[Row], dict[str, float] | None]:
    """The rows of all batches, and how far the peer's results are from ours."""
    if options.peer == "none":
        return list(rows_of(options, sd, size, None, scratch)), None
    start = dict(python=options.peer_python, channels_last=options.peer_channels_last)
    with training_peer.started(sd, options.model, scratch, **start) as torch:
        agreed = checked(options, sd, size, torch, scratch) if options.check else None
        return list(rows_of(options, sd, size, torch, scratch)), agreed


def checked(options: Options, sd: StableDiffusion, size: int, torch: Peer, scratch: Path) -> dict[str, float]:
    """Prints how far the peer is from ours. ValueError where it is too far for float32."""
    images = training_step.images(sd, options.batches[0], size)
    made = training_step.of(sd)
    found = training_peer.compare(sd, made, torch, images, encoded(made, images), scratch)
    jax.clear_caches()  # else the first call that is timed would find its program compiled
    for name, value in found.items():
        say(f"peer, {name}: {value:.2g} apart (bound in float32 {training_peer.BOUNDS[name]:g})")
    far = [name for name, value in found.items() if not value <= training_peer.BOUNDS[name]]
    if far and options.dtype == "float32":
        raise ValueError(f"the peer computes something else: {', '.join(far)}")
    return found


def encoded(made: TrainingStep, images: Mapping[str, np.ndarray]) -> jax.Array:
    """Latents of the images, as the cache has them."""
    return jax.jit(made.encode)(made.frozen, dict(images), rng.key(0), np.int32(0))["latents"]


def rows_of(options: Options, sd: StableDiffusion, size: int, torch: Peer | None, scratch: Path) -> Iterator[Row]:
    """A row for every program, with and without cache and remat, at every batch size."""
    file = scratch / "case.npz"
    for remat, batch in itertools.product(options.remat, options.batches):
        made = training_step.of(training_step.with_remat(sd, remat))
        images = training_step.images(sd, batch, size)
        if torch is not None:
            training_peer.write_case(sd, images, encoded(made, images), file)
        for is_cached in options.cached:
            build = partial(Training, made, images, is_cached=is_cached)
            request = {"case": str(file), "is_cached": is_cached, "remat": remat, "steps": options.steps}
            runs = peer_runs(torch, options.peer_modes, request) if torch is not None else {}
            facts = dict(batch=batch, is_cached=is_cached, remat=remat)
            yield from alternated(build, runs, facts, options)


def peer_runs(torch: Peer, modes: tuple[str, ...], request: dict[str, Any]) -> dict[str, Callable[[], float]]:
    """What times the steps of the peer, by mode."""
    run = lambda mode: training_peer.asked(torch, request | {"mode": mode})["seconds"]
    return {f"torch {mode}": lambda mode=mode: run(mode) for mode in modes}


def alternated(
    build: Callable[[], Training], others: dict[str, Callable[[], float]], facts: dict[str, Any], options: Options
) -> Iterator[Row]:
    """One row per program, from repeats in turn after a first call of each; those that fail are left out."""
    first, runs = {}, {}
    for name in (OURS, *others):
        start = time.perf_counter()
        try:
            run = partial(build().seconds, options.steps) if name == OURS else others[name]
            run()
        except (RuntimeError, MemoryError) as error:  # XLA's and the peer's lack of memory
            say(f"{facts}, {name}: {str(error).splitlines()[0]}")
            continue
        first[name], runs[name] = time.perf_counter() - start, run
    taken = {name: [] for name in runs}
    for _ in range(options.repeats):
        for name, times in taken.items():
            times.append(runs[name]())
    for name, times in taken.items():
        row = Row(program=name, first=first[name], steps=options.steps, taken=tuple(times), **facts)
        say(f"{facts}, {name}: {row.images_per_second:.4g} images/s after {row.compile:.1f} s")
        yield row


def _write(options: Options, rows: list[Row], agreed: dict[str, float] | None, peak: float, operations: float) -> None:
    written = {
        "options": dataclasses.asdict(options) | {"out": str(options.out)},
        "versions": versions(),
        "peak": peak,
        "operations": operations,
        "agreement": agreed,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(written, indent=2) + "\n")


def run() -> None:
    options = tyro.cli(Options, prog="python -m benchmarks.training")
    main(options)


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(run))
