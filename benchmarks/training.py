"""Images a second of the fine-tuning step, beside PyTorch diffusers' in the same run.

    python -m benchmarks.training --batches 4 16 --peer torch --peer-modes eager compile

Both sides train the whole UNet with AdamW and an average, text encoder and VAE frozen, on a batch that lies on the
device already: reading files is left out. Repeats alternate between the two; the peer waits in a process of its own.
"""

import dataclasses
import functools
import itertools
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import jax.numpy as jnp
import tyro

from benchmarks import agreement, peer, subjects, tables, timing, training_step
from benchmarks.peer import Mode
from benchmarks.tables import Row
from benchmarks.training_step import Training, TrainingStep
from prism_jax import entrypoint, flops
from prism_jax.stable_diffusion import StableDiffusion

LATENTS = {True: "cached latents", False: "encoded each step"}  # by whether latents are cached


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
    peer_modes: tuple[Mode, ...] = ("eager",)
    peer_channels_last: bool = True
    peer_python: str | None = None
    """Interpreter with PyTorch, diffusers and transformers; by default this one."""
    out: Path | None = None
    """File for everything measured, as JSON."""


def main(options: Options) -> None:
    """Measures, and prints the table of RESULTS.md."""
    entrypoint.use_cpu_well()
    dtype = jnp.dtype(options.dtype)
    peak = flops.matrix_peak(dtype)
    timing.say(f"matrix peak in {options.dtype}: {peak / 1e12:.3g} TFLOP/s")
    sd = subjects.load(options.model, dtype)
    size = options.size or sd.size
    with tempfile.TemporaryDirectory() as scratch:
        rows, agreed = measure(options, sd, size, Path(scratch))
    operations = flops.unet_training(sd.unet.config, sd.latent_shape(size, size)[0])
    print(tables.speeds(rows, ("step",), dict.fromkeys(LATENTS.values(), (operations,)), peak))
    print(f"\nmatrix peak {peak / 1e12:.3g} TFLOP/s ({options.dtype}), {operations / 1e9:.4g} GFLOP an image")
    print(tables.speedup(rows))
    if options.out:
        timing.write(options.out, options, rows, peak=peak, operations=operations, agreement=agreed)


def measure(
    options: Options, sd: StableDiffusion, size: int, scratch: Path
) -> tuple[list[Row], dict[str, float] | None]:
    """The rows of all batches, and how far the peer's results are from ours."""
    if options.peer == "none":
        return list(rows_of(options, sd, size, None, scratch)), None
    request = {"python": options.peer_python, "channels_last": options.peer_channels_last} | training_step.for_peer()
    with peer.started("peer_training", sd, options.model, scratch, **request) as torch:
        batch = options.batches[0]
        images = training_step.inputs(sd, batch, size, is_encoded=False)
        made = training_step.finetuning(sd, images, mesh=subjects.mesh(batch))
        agreed = agreement.of_training(sd, Training(made), torch, made.batch, scratch)
        timing.check_agreement(agreed, agreement.TRAINING_BOUNDS, options.dtype)
        return list(rows_of(options, sd, size, torch, scratch)), agreed


def rows_of(options: Options, sd: StableDiffusion, size: int, torch: peer.Peer | None, scratch: Path) -> Iterator[Row]:
    """A row for every program, with and without cache and remat, at every batch size."""
    for remat, batch in itertools.product(options.remat, options.batches):
        images = training_step.inputs(sd, batch, size, is_encoded=False)
        made = training_step.finetuning(training_step.with_remat(sd, remat), images, mesh=subjects.mesh(batch))
        if torch is not None:
            latents = training_step.encoded(made, images)["latents"]
            peer.write_training_case(sd, images, latents, scratch / "case.npz")
        yield from batch_rows(options, made, torch, scratch / "case.npz", remat=remat)


def batch_rows(
    options: Options,
    made: TrainingStep,
    torch: peer.Peer | None,
    file: Path,
    *,
    remat: bool = False,
    until: float = math.inf,
) -> Iterator[Row]:
    """The rows of one batch, whose input for the peer is `file`. See `timing.alternated` for `until`."""
    batch = len(made.batch["id"])
    for is_cached in options.cached:
        request = {"case": str(file), "is_cached": is_cached, "remat": remat, "steps": options.steps}
        runs = {timing.OURS: own_run(made, options.steps, is_cached=is_cached)}
        for mode in options.peer_modes if torch is not None else ():
            ask = functools.partial(torch.ask, request | {"mode": mode})
            runs[f"torch {mode}"] = lambda ask=ask: (ask()["seconds"],)
        facts = dict(batch=batch, images=batch * options.steps, setting=LATENTS[is_cached], remat=remat)
        yield from timing.alternated(runs, options.repeats, until=until, **facts)


def own_run(made: TrainingStep, steps: int, *, is_cached: bool = True) -> Callable[[], tuple[float]]:
    """A run of steps of ours; the first creates the state."""
    training = functools.cache(lambda: Training(made, is_cached=is_cached))
    return lambda: (training().seconds(steps),)


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(lambda: main(tyro.cli(Options, prog="python -m benchmarks.training"))))
