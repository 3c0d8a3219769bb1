"""Where a stage of the GPU benchmark works, for how long, and beside which processes of PyTorch."""

import contextlib
import dataclasses
import importlib.util
import time
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import jax.numpy as jnp
import tyro

from benchmarks import editing, peer, subjects, timing, training_step
from benchmarks.gpu import results
from benchmarks.gpu.sizes import Sizes
from prism_jax.models import attention
from prism_jax.stable_diffusion import StableDiffusion


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of one stage."""

    stage: tyro.conf.Positional[str]
    out: Path
    scratch: Path
    """Folder of files that the stages hand on."""
    until: float
    stages: tuple[str, ...]
    """All of the run: what they need is compiled."""
    rehearse: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Where a stage works, and for how long."""

    options: Options
    sizes: Sizes

    @property
    def model(self) -> Path:
        return self.options.scratch / "model"

    @property
    def left(self) -> float:
        """Seconds."""
        return self.options.until - time.monotonic()

    @cached_property
    def sd(self) -> StableDiffusion:
        return StableDiffusion.from_pretrained(self.model, dtype=jnp.dtype(self.sizes.dtype))

    def add(self, **found: Any) -> None:
        results.merge(self.options.out, found)

    def skip(self, what: str, reason: str) -> None:
        timing.say(f"{what}: {reason}")
        self.add(skipped={what: reason})

    @contextlib.contextmanager
    def going_on(self, what: str) -> Iterator[None]:
        """Notes an error of the peer, or a lack of memory, in place of `what`."""
        try:
            yield
        except (RuntimeError, ValueError, OSError) as error:
            self.skip(what, str(error).splitlines()[0])

    def without_cudnn(self) -> contextlib.AbstractContextManager:
        """Attention without cuDNN, where the doctor has found that it fails."""
        if not results.read(self.options.out).get("without_cudnn"):
            return contextlib.nullcontext()
        return mock.patch.object(attention, "uses_cudnn", return_value=False)

    def compiled(self, names: Iterable[str]) -> bool:
        programs = results.read(self.options.out).get("programs") or {}
        return all("compile" in programs.get(name, {}) for name in names)


@contextlib.contextmanager
def beside(bench: Bench, program: str) -> Iterator[peer.Peer | None]:
    """The peer; None where it is missing or does not start, which is noted."""
    with contextlib.ExitStack() as stack:
        torch = None
        if has_peer():
            with bench.going_on(f"PyTorch, {bench.options.stage}"):
                torch = stack.enter_context(started(bench, program))
        else:
            bench.skip(f"PyTorch, {bench.options.stage}", "torch or diffusers is missing")
        yield torch


def has_peer() -> bool:
    return all(importlib.util.find_spec(name) for name in ("torch", "diffusers"))


def wait_for(bench: Bench, path: Path) -> Path:
    """`path`, once another stage has made it."""
    while not path.exists():
        if bench.left < 0:
            raise TimeoutError(f"{path.name} was not made in time")
        time.sleep(0.2)
    return path


def editing_options(bench: Bench, batch: int, method: str, modes: tuple[str, ...], repeats: int = 1) -> editing.Options:
    counts = dict(steps=bench.sizes.steps, inner_steps=bench.sizes.inner_steps, repeats=repeats)
    return editing.Options(methods=(method,), batches=(batch,), peer_modes=modes, **counts)


def case_of(bench: Bench, batch: int) -> subjects.Case:
    return subjects.case(bench.sd, batch, size=bench.sizes.size, is_drawn=False)


def started(bench: Bench, program: str) -> contextlib.AbstractContextManager[peer.Peer]:
    request = training_step.for_peer() if program == "peer_training" else {}
    return peer.started(program, bench.sd, str(bench.model), bench.options.scratch, channels_last=True, **request)
