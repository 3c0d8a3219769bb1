"""The state of a training run, and one update of it."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from prism_jax.checkpoint import Checkpoints

MEAN_DECAY = 0.98  # of the running mean that a spike is measured against


@dataclasses.dataclass(frozen=True, kw_only=True)
class SkipConfig:
    """When a batch's update is left out. One whose loss or gradient is not finite always is."""

    spike: float = 20.0
    """A gradient norm more than so many times its running mean is a spike."""
    after: int = 100
    """Updates before spikes are looked for."""
    largest: float | None = None
    """A gradient norm of so much or more is left out, from the first update on."""
    patience: int = 10
    """So many left out in a row stop the run."""

    def __post_init__(self) -> None:
        if self.spike <= 1 or self.patience < 1:
            raise ValueError(f"guard spike {self.spike} and patience {self.patience}; use more than 1, and at least 1")


@struct.dataclass
class TrainState:
    """All that changes during training; a pytree. Parameters and moments are float32."""

    step: jax.Array  # int32 [], batches seen
    params: Any
    opt_state: Any
    ema: Any  # like params, or None without averaging
    updates: jax.Array  # int32 [], batches not left out
    grad_norm: jax.Array  # float32 [], its running mean over those


def create(params: Any, tx: optax.GradientTransformation, *, ema: bool) -> TrainState:
    """The state before the first step. Copies `params`: the loop donates its state, nobody else may hold it."""
    copy = lambda tree: jax.tree.map(jnp.copy, tree)
    average = copy(params) if ema else None
    return TrainState(
        step=jnp.int32(0),
        params=copy(params),
        opt_state=tx.init(params),
        ema=average,
        updates=jnp.int32(0),
        grad_norm=jnp.float32(0),
    )


def update(
    state: TrainState,
    loss: jax.Array,
    grads: Any,
    *,
    tx: optax.GradientTransformation,
    schedule: optax.Schedule,
    ema_decay: float | None,
    guard: SkipConfig = SkipConfig(),
    decay: Callable[[float, jax.Array], jax.Array] | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One optimizer step, unless `guard` leaves the batch out.

    `decay` gives that of the average from `ema_decay` and the updates made before; None: `warmed_up`.

    The metrics are `grad_norm` (before clipping), `learning_rate` and `skipped` (1 for a batch left out, else 0).
    """
    norm = optax.tree.norm(grads)
    is_spike = (state.updates >= guard.after) & (norm > guard.spike * state.grad_norm)
    is_sound = jnp.isfinite(loss) & jnp.isfinite(norm) & ~is_spike
    if guard.largest is not None:
        is_sound &= norm < guard.largest
    metrics = {
        "grad_norm": norm,
        "learning_rate": jnp.asarray(schedule(state.updates)),
        "skipped": 1.0 - is_sound.astype(jnp.float32),
    }
    changes, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, changes)
    ema = state.ema
    if ema is not None:
        share = (decay or warmed_up)(ema_decay, state.updates)
        ema = jax.tree.map(lambda old, new: share * old + (1 - share) * new, ema, params)
    mean = jnp.where(state.updates == 0, norm, MEAN_DECAY * state.grad_norm + (1 - MEAN_DECAY) * norm)
    updated = state.replace(params=params, opt_state=opt_state, ema=ema, updates=state.updates + 1, grad_norm=mean)
    kept = jax.tree.map(lambda new, old: jnp.where(is_sound, new, old), updated, state)
    return kept.replace(step=state.step + 1), metrics


def warmed_up(decay: float, step: jax.Array) -> jax.Array:
    """min(decay, (1 + n) / (10 + n)): an average over few steps while few were made."""
    n = step.astype(jnp.float32)
    return jnp.minimum(decay, (1 + n) / (10 + n))


def averaged(state: TrainState) -> Any:
    """The parameters to use: the running average where there is one."""
    return state.params if state.ema is None else state.ema


def best(run: str | Path, state: Any) -> Any:
    """The state of the checkpoint of the lowest validation loss; `state`, the last, where none was measured.

    Any pytree that `fit` trained: programs that change more than parameters have states of their own.
    """
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    with contextlib.closing(Checkpoints(Path(run) / "checkpoints", is_reader=True)) as saved:
        step = saved.best()
        return state if step is None else saved.restore(step, like)[0]
