"""The loop that every training program shares.

Order that matters: step n + 1 is dispatched before the metrics of step n are fetched, so that the device never
waits for logging; but whatever looks at the state (a checkpoint, a hook) comes after the metrics of all steps
so far were looked at.
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

from prism_jax import entrypoint, rng, sharding
from prism_jax.checkpoint import VALIDATION_LOSS, Checkpoints
from prism_jax.sharding import ShardingConfig
from prism_jax.training.log import Log
from prism_jax.training.state import TrainState

SLOWEST_COMPILATION = 3_600_000  # milliseconds that processes wait for the last of them


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long a run is and what it leaves behind."""

    steps: int = 1000
    log_every: int = 20
    """Steps per line of metrics.jsonl; each line is a mean over them."""
    checkpoint_every: int = 500
    keep: int = 2
    """Newest checkpoints kept."""
    keep_best: int = 1
    """Further ones kept, of the lowest validation loss."""
    tensorboard: bool = True
    """Write the metrics and sample pictures for TensorBoard too."""
    profile: tuple[int, int] | None = None
    """First and last step of a window whose profile is written to profile/."""

    def __post_init__(self) -> None:
        for name in ("steps", "log_every", "checkpoint_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"loop.{name} {getattr(self, name)} is not a number of steps or checkpoints; use 1 up")


class Batches(Protocol):
    """What the loop asks of data: dicts of numpy arrays, this host's part, and a position to go back to."""

    def __next__(self) -> Mapping[str, np.ndarray]: ...
    def get_state(self) -> Any: ...
    def set_state(self, state: Any) -> None: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hook:
    """`call(state, step, log)` every `every` steps (0: never) and after the last; what it returns is logged."""

    every: int
    call: Callable[[TrainState, int, Log], Mapping[str, float] | None]


def fit(
    step_fn: Callable,
    *,
    create: Callable[[Any], TrainState],
    initial: Any,
    frozen: Any,
    batches: Batches,
    config: LoopConfig,
    run: str | Path,
    seed: int,
    mesh: Mesh,
    placement: ShardingConfig | None = None,
    prepare: Callable | None = None,
    validate: Hook | None = None,
    hooks: Sequence[Hook] = (),
    patience: int = 10,
    peak: float | None = None,
) -> TrainState:
    """Trains to `config.steps` in the folder `run`, going on from its latest checkpoint.

    Args:
      step_fn: pure `(state, frozen, batch, rng) -> (state, metrics)`; jitted here and nowhere else.
      create: `initial -> state`, pure; compiled so that the state is born where `placement` has it.
      initial: what `create` takes, on the host: a pytree of arrays or None.
      frozen: a pytree of arrays that the step reads, whole on every device of `mesh`.
      placement: of the state; None: whole on every device.
      prepare: pure `(frozen, batch, rng, state.step) -> batch`, a program of its own before each step: what the encoder
        gives must not depend on what the compiler makes of the rest.
      validate: comes before the checkpoint of its step, which keeps the validation loss that it returns.
      hooks: come after it, so that their failure costs no step.
      patience: batches left out in a row that stop the run.
      peak: steps per second if all devices did nothing but matrix products; the share reached is logged.

    Raises:
      entrypoint.Stopped: SIGINT or SIGTERM came; the state was saved.
      FloatingPointError: too many batches in a row were left out; their ids are in skipped.jsonl.
      OSError: no room for a checkpoint; earlier ones stay.
    """
    run = Path(run)
    with contextlib.closing(Checkpoints(run / "checkpoints", keep=config.keep, keep_best=config.keep_best)) as saved:
        state, start, where = _first_state(create, initial, saved, batches, mesh, placement or ShardingConfig())
        del initial
        watched = hooks if validate is None else (validate, *hooks)
        periods = {config.checkpoint_every, *(hook.every for hook in watched)} - {0}
        advance = _compiled(step_fn, prepare, mesh, where)
        root = jax.jit(partial(rng.key, seed), out_shardings=sharding.replicated(mesh))()
        log = Log(run, start, config.log_every, patience=patience, peak=peak, board=config.tensorboard)
        with contextlib.ExitStack() as stack:
            stack.enter_context(jax.set_mesh(mesh))
            stack.enter_context(contextlib.closing(log))
            bar = stack.enter_context(_progress(config.steps, start))
            watch = stack.enter_context(_profiled(config.profile, run))
            asked_to_stop = stack.enter_context(_asked_to_stop())
            for step in range(start + 1, config.steps + 1):
                watch(step)
                batch = next(batches)
                state, metrics = advance(state, frozen, batch, root)
                log.add(step, metrics, batch["id"])
                bar.update()
                saved.poll()
                is_stopping = asked_to_stop(step)
                due = {every for every in periods if step % every == 0 or step == config.steps}
                if is_stopping or due:
                    log.flush()
                measured = {}
                if validate is not None and validate.every in due and not is_stopping:
                    measured = validate.call(state, step, log)
                    log.write(step, measured)
                if is_stopping or config.checkpoint_every in due:
                    kept = {name: value for name, value in measured.items() if name == VALIDATION_LOSS}
                    saved.save(step, state, batches.get_state(), kept)
                if is_stopping:
                    saved.wait()
                    text = f"stopped at step {step}; the same command resumes from there"
                    raise entrypoint.Stopped(text, is_stopping)
                for hook in hooks:
                    if hook.every in due:
                        log.write(step, hook.call(state, step, log) or {})
                bar.set_postfix(log.latest, refresh=False)
    return state


def _first_state(
    create: Callable[[Any], TrainState],
    initial: Any,
    checkpoints: Checkpoints,
    batches: Batches,
    mesh: Mesh,
    placement: ShardingConfig,
) -> tuple[TrainState, int, Any]:
    """The state to go on from, the step it is of, and where it lies."""
    shapes = jax.eval_shape(create, initial)
    where = sharding.place(shapes, mesh, placement)
    step = checkpoints.latest()
    if step is None:
        placed = sharding.to_global(initial, sharding.place(initial, mesh, placement))
        return jax.jit(create, out_shardings=where)(placed), 0, where
    like = jax.tree.map(lambda leaf, at: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=at), shapes, where)
    state, position = checkpoints.restore(step, like)
    batches.set_state(position)
    print(f"going on from step {step} of {checkpoints.folder.parent}", file=sys.stderr)
    return state, step, where


def jitted(step_fn: Callable, mesh: Mesh, where: Any) -> Callable:
    """The training step as one program. Only the state is donated: params, moments and average are updated in place."""
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
                # On CPUs a process that starts while another still compiles gives it up after half a minute (Gloo).
                multihost.get_barrier_sync_fn()(key="training step", timeout_ms=SLOWEST_COMPILATION)
            return run(state, frozen, placed, root)

    return advance


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[Callable[[int], int]]:
    """The signal that came, SIGINT or SIGTERM, or 0; asked after every step. A second signal acts as ever.

    Many processes have to stop after the same step: there JAX takes SIGTERM, to whichever of them, and agrees on one.
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
    """A profile of the steps of `window`; what is yielded is called before every step."""
    first, last = window or (-1, -1)
    running = []

    def watch(step: int) -> None:
        if step == first:
            jax.profiler.start_trace(run / "profile")
            running.append(step)
        elif running and step > last:
            jax.profiler.stop_trace()
            running.clear()

    try:
        yield watch
    finally:
        watch(last + 1)


def _progress(steps: int, start: int) -> tqdm:
    # In a log file a bar is a line: one every half minute is enough.
    interval = 0.5 if sys.stderr.isatty() else 30
    quiet = jax.process_index() != 0
    return tqdm(total=steps, initial=start, mininterval=interval, disable=quiet, unit="step", dynamic_ncols=True)
