"""The state of a training run, and one update of it."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct


@struct.dataclass
class TrainState:
    """All that changes during training; a pytree. Parameters and moments are float32."""

    step: jax.Array  # int32 [], updates made
    params: Any
    opt_state: Any
    ema: Any  # like params, or None without averaging


def create(params: Any, tx: optax.GradientTransformation, *, ema: bool) -> TrainState:
    """The state before the first step. Copies `params`: the loop donates its state, nobody else may hold it."""
    copy = lambda tree: jax.tree.map(jnp.copy, tree)
    average = copy(params) if ema else None
    return TrainState(step=jnp.int32(0), params=copy(params), opt_state=tx.init(params), ema=average)


def update(
    state: TrainState,
    grads: Any,
    *,
    tx: optax.GradientTransformation,
    schedule: optax.Schedule,
    ema_decay: float,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One optimizer step, and the metrics `grad_norm` (before clipping) and `learning_rate`."""
    metrics = {"grad_norm": optax.tree.norm(grads), "learning_rate": jnp.asarray(schedule(state.step))}
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if ema is not None:
        decay = warmed_up(ema_decay, state.step)
        ema = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, ema, params)
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state, ema=ema), metrics


def warmed_up(decay: float, step: jax.Array) -> jax.Array:
    """min(decay, (1 + n) / (10 + n)): an average over few steps while few were made."""
    n = step.astype(jnp.float32)
    return jnp.minimum(decay, (1 + n) / (10 + n))


def averaged(state: TrainState) -> Any:
    """The parameters to use: the running average where there is one."""
    return state.params if state.ema is None else state.ema
