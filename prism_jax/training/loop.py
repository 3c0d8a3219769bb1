"""Training loop, common to all trainers.

The order matters: step n + 1 is dispatched before the metrics of step n are fetched, so that the device never waits for
logging; but checkpoints and hooks, which read the state, come after the metrics of all steps so far have been checked.
"""

import contextlib
import dataclasses
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from tqdm import tqdm

from prism_jax import config as configs
from prism_jax import entrypoint, rng, sharding
from prism_jax.checkpoint import VALIDATION_LOSS, Checkpoints
from prism_jax.sharding import ShardingConfig
from prism_jax.training.log import Log
from prism_jax.training.state import SkipConfig, TrainState

COMPILATION_TIMEOUT_MS = 3_600_000  # processes wait this long for the last one to compile


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Number of steps, logging and checkpoints."""

    steps: int = 1000
    """Number of training steps (updates)."""
    log_every: int = 20
    """Steps per line of metrics.jsonl, which holds means over them."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    keep: int = 2
    """Number of newest checkpoints to keep."""
    keep_best: int = 1
    """Number of checkpoints with the lowest validation loss to keep as well."""
    tensorboard: bool = True
    """Write metrics and sample images for TensorBoard too."""
    profile: tuple[int, int] | None = None
    """First and last step to profile; the profile is written to profile/."""
    allow_changes: bool = False
    """Resume a run even if settings such as the learning rate have changed since its start."""

    def __post_init__(self) -> None:
        for name in ("steps", "log_every", "checkpoint_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"loop.{name} must be at least 1, got {getattr(self, name)}")


class Batches(Protocol):
    """Data iterator: this host's part of each batch as a dict of NumPy arrays; its state can be saved and restored."""

    def __next__(self) -> Mapping[str, np.ndarray]: ...
    def get_state(self) -> Any: ...
    def set_state(self, state: Any) -> None: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hook:
    """`call(state, step, log)`, every `every` steps (0: never) and after the last one; the result is logged."""

    every: int
    call: Callable[[TrainState, int, Log], Mapping[str, float] | None]


def fit(
    step_fn: Callable,
    config: Any,
    *,
    create: Callable[[Any], TrainState],
    initial: Any,
    frozen: Any,
    batches: Batches,
    mesh: Mesh,
    prepare: Callable | None = None,
    validate: Hook | None = None,
    hooks: Sequence[Hook] = (),
    peak: float | None = None,
) -> TrainState:
    """Trains to `config.loop.steps` in the folder `config.run`, from its latest checkpoint if there is one.

    Args:
      step_fn: pure `(state, frozen, batch, rng) -> (state, metrics)`; jitted here and nowhere else.
      config: of the run; it is written to `config.json`. Its `run`, `seed`, `loop`, and where it has them `skip` and
        `sharding` (of the state; otherwise replicated) are read.
      create: `initial -> state`, pure; compiled so that the state is created sharded.
      initial: the argument of `create`, on the host: a pytree of arrays or None.
      frozen: a pytree of arrays that the step reads, replicated over `mesh`.
      prepare: pure `(frozen, batch, rng, state.step) -> batch`, compiled separately and run before each step: the
        encoder's output must not depend on how the compiler fuses the step.
      validate: runs before the checkpoint of its step, which stores the validation loss that it returns.
      hooks: run after the checkpoint, so that their failure costs no step.
      peak: steps per second at the matrix peak of all devices; the fraction reached is logged as "mfu".

    Raises:
      entrypoint.Stopped: SIGINT or SIGTERM was received; the state was saved.
      FloatingPointError: too many batches in a row were skipped; their ids are in skipped.jsonl.
      OSError: no space for a checkpoint; earlier ones stay.
    """
    configs.write(config, config.run)
    max_skips = getattr(config, "skip", SkipConfig()).max_consecutive
    run, loop, placement = Path(config.run), config.loop, getattr(config, "sharding", ShardingConfig())
    with contextlib.closing(Checkpoints(run / "checkpoints", keep=loop.keep, keep_best=loop.keep_best)) as saved:
        state, start, where = _first_state(create, initial, saved, batches, mesh, placement)
        del initial
        if start >= loop.steps and jax.process_index() == 0:
            print(f"{run} is already trained to step {start}; to continue, raise --loop.steps", file=sys.stderr)
        every_hook = hooks if validate is None else (validate, *hooks)
        periods = {loop.checkpoint_every, *(hook.every for hook in every_hook)} - {0}
        advance = _compiled(step_fn, prepare, mesh, where)
        root = jax.jit(partial(rng.key, config.seed), out_shardings=sharding.replicated(mesh))()
        log = Log(run, start, loop.log_every, max_skips=max_skips, peak=peak, board=loop.tensorboard)
        with contextlib.ExitStack() as stack:
            stack.enter_context(jax.set_mesh(mesh))
            stack.enter_context(contextlib.closing(log))
            bar = stack.enter_context(_progress(loop.steps, start))
            profile = stack.enter_context(_profiled(loop.profile, run))
            asked_to_stop = stack.enter_context(_asked_to_stop())
            for step in range(start + 1, loop.steps + 1):
                profile(step)
                batch = next(batches)
                if step == start + 1:
                    bar.set_description("compiling the training step, which may take a minute")
                state, metrics = advance(state, frozen, batch, root)
                if step == start + 1:
                    bar.unpause()  # keeps the time of compilation out of the estimate of what remains
                log.add(step, metrics, batch["id"])
                bar.update()
                saved.poll()
                is_stopping = asked_to_stop(step)
                due = {every for every in periods if step % every == 0 or step == loop.steps}
                if is_stopping or due:
                    log.flush()
                measured = {}
                if validate is not None and validate.every in due and not is_stopping:
                    bar.set_description("validation")
                    measured = validate.call(state, step, log)
                    log.write(step, measured)
                if is_stopping or loop.checkpoint_every in due:
                    bar.set_description("saving")
                    kept = {name: value for name, value in measured.items() if name == VALIDATION_LOSS}
                    saved.save(step, state, batches.get_state(), kept)
                if is_stopping:
                    saved.wait()
                    text = f"stopped at step {step}; the same command resumes from there"
                    raise entrypoint.Stopped(text, is_stopping)
                for hook in hooks:
                    if hook.every in due:
                        bar.set_description("samples")
                        log.write(step, hook.call(state, step, log) or {})
                bar.set_description("training", refresh=False)
                bar.set_postfix(log.latest, refresh=False)
            bar.set_description("saving")
            saved.wait()
    return state


def _first_state(
    create: Callable[[Any], TrainState],
    initial: Any,
    checkpoints: Checkpoints,
    batches: Batches,
    mesh: Mesh,
    config: ShardingConfig,
) -> tuple[TrainState, int, Any]:
    """The state to start from, its step, and its sharding."""
    shapes = jax.eval_shape(create, initial)
    where = sharding.place(shapes, mesh, config)
    step = checkpoints.latest()
    if step is None:
        placed = sharding.to_global(initial, sharding.place(initial, mesh, config))
        return jax.jit(create, out_shardings=where)(placed), 0, where
    like = jax.tree.map(lambda leaf, at: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=at), shapes, where)
    state, position = checkpoints.restore(step, like)
    batches.set_state(position)
    if jax.process_index() == 0:
        print(f"resuming at step {step} of {checkpoints.folder.parent}", file=sys.stderr)
    return state, step, where


def jitted(step_fn: Callable, mesh: Mesh, where: Any) -> Callable:
    """The compiled training step. Only the state is donated: parameters, moments and average are updated in place."""
    everywhere = sharding.replicated(mesh)
    return jax.jit(
        step_fn,
        in_shardings=(where, everywhere, sharding.batch_sharding(mesh), everywhere),
        out_shardings=(where, everywhere),
        donate_argnums=0,
    )


def _compiled(step_fn: Callable, prepare: Callable | None, mesh: Mesh, where: Any) -> Callable:
    """`(state, frozen, batch on this host, rng) -> (state, metrics)`, without hidden transfers."""
    from orbax.checkpoint import multihost

    everywhere, over_batch = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    step_fn = jitted(step_fn, mesh, where)
    if prepare is not None:
        inputs = (everywhere, over_batch, everywhere, everywhere)
        prepare = jax.jit(prepare, in_shardings=inputs, out_shardings=over_batch)
    run = step_fn if jax.process_count() == 1 else None

    def advance(state, frozen, batch, root):
        nonlocal run
        placed = sharding.host_batch_to_global({**batch, "id": rng.example_ids(batch["id"])}, mesh)
        with jax.transfer_guard("disallow"):
            if prepare is not None:
                placed = prepare(frozen, placed, root, state.step)
            if run is None:
                run = step_fn.lower(state, frozen, placed, root).compile()
                # On CPUs (Gloo) a process that runs the step while another one still compiles times out after 30 s.
                multihost.get_barrier_sync_fn()(key="training step", timeout_ms=COMPILATION_TIMEOUT_MS)
            return run(state, frozen, placed, root)

    return advance


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[Callable[[int], int]]:
    """Yields a function that returns SIGINT or SIGTERM if it was received, else 0; a second signal aborts.

    Jobs of many processes must stop after the same step: JAX catches SIGTERM in any of them and agrees on a step.
    """
    if jax.process_count() > 1:
        yield lambda step: signal.SIGTERM if multihost_utils.reached_preemption_sync_point(step) else 0
        return
    caught, before = [], {}

    def note(number: int, frame: Any) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield lambda step: caught[0] if caught else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _profiled(window: tuple[int, int] | None, run: Path) -> Iterator[Callable[[int], None]]:
    """Profiles the steps of `window`; the yielded function must be called before every step."""
    first, last = window or (-1, -1)
    with contextlib.ExitStack() as stack:

        def profile(step: int) -> None:
            if step == first:
                stack.enter_context(jax.profiler.trace(run / "profile"))
            elif step > last:
                stack.close()

        yield profile


def _progress(steps: int, start: int) -> tqdm:
    # In a log file every refresh of the bar is a line: one every half minute is enough.
    interval = 0.5 if sys.stderr.isatty() else 30
    quiet = jax.process_index() != 0
    options = dict(mininterval=interval, disable=quiet, unit="step", dynamic_ncols=True, desc="training")
    return tqdm(total=steps, initial=start, **options)
