"""The state of a training run, and one update of it."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from prism_jax import rng
from prism_jax.checkpoint import Checkpoints

MEAN_DECAY = 0.98  # of the running mean of the gradient norm


@dataclasses.dataclass(frozen=True, kw_only=True)
class SkipConfig:
    """Criteria for skipping a batch (discarding its update). Non-finite losses and gradients are always skipped."""

    spike_factor: float = 20.0
    """Skip a batch whose gradient norm is above this factor times the running mean of the norm."""
    warmup_updates: int = 100
    """Updates before `spike_factor` applies."""
    max_grad_norm: float | None = None
    """Skip a batch whose gradient norm is at least this, from the first update; None: no limit."""
    max_consecutive: int = 10
    """Stop the run after this many skipped batches in a row."""

    def __post_init__(self) -> None:
        if self.spike_factor <= 1 or self.max_consecutive < 1:
            raise ValueError(
                f"skip.spike_factor must be above 1, got {self.spike_factor}; "
                f"skip.max_consecutive at least 1, got {self.max_consecutive}"
            )


@struct.dataclass
class TrainState:
    """Everything a training step changes; a pytree. Parameters and optimizer moments are float32."""

    step: jax.Array  # int32 [], batches seen, skipped ones included
    params: Any
    opt_state: Any
    ema: Any  # like params, or None without averaging
    updates: jax.Array  # int32 [], batches not skipped
    grad_norm: jax.Array  # float32 [], running mean of the gradient norm over `updates`


def create(params: Any, tx: optax.GradientTransformation, *, ema: bool) -> TrainState:
    """The state before the first step. Copies `params`, because the loop donates its state and the caller may still use
    them."""
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


def untrained(network: type[nnx.Module], options: Any, seed: int, *, stream: str = "init") -> dict[str, Any]:
    """The initial parameters of a network with these options, nested by name."""
    return nnx.to_pure_dict(nnx.state(network(options, rngs=nnx.Rngs(rng.stream(rng.key(seed), stream)))))


def update(
    state: TrainState,
    loss: jax.Array,
    grads: Any,
    *,
    tx: optax.GradientTransformation,
    schedule: optax.Schedule,
    ema_decay: float | None,
    skip: SkipConfig = SkipConfig(),
    decay: Callable[[float, jax.Array], jax.Array] | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One optimizer step, unless `skip` rejects the batch.

    Args:
      ema_decay: of the average of the parameters; None where the state has no average.
      decay: (ema_decay, updates before this one) -> the decay to apply; None: `warmup_decay`.

    Returns:
      The new state, and the metrics `grad_norm` (before clipping), `learning_rate` and `skipped` (1 for a skipped
      batch, else 0).
    """
    norm = optax.tree.norm(grads)
    metrics = {"grad_norm": norm, "learning_rate": jnp.asarray(schedule(state.updates))}

    def updated(state: TrainState, grads: Any) -> TrainState:
        changes, opt_state = optax.with_extra_args_support(tx).update(grads, state.opt_state, state.params, norm=norm)
        params, ema = optax.apply_updates(state.params, changes), state.ema
        if ema is not None:
            rate = (decay or warmup_decay)(ema_decay, state.updates)
            ema = jax.tree.map(lambda old, new: rate * old + (1 - rate) * new, ema, params)
        mean = jnp.where(state.updates == 0, norm, MEAN_DECAY * state.grad_norm + (1 - MEAN_DECAY) * norm)
        return state.replace(params=params, opt_state=opt_state, ema=ema, updates=state.updates + 1, grad_norm=mean)

    # A branch, not a choice array by array: that copies, and compiles, the old and the new of each.
    is_sound = _is_sound(state, loss, norm, skip)
    state = jax.lax.cond(is_sound, updated, lambda state, grads: state, state, grads)
    return state.replace(step=state.step + 1), metrics | {"skipped": 1.0 - is_sound.astype(jnp.float32)}


def _is_sound(state: TrainState, loss: jax.Array, norm: jax.Array, skip: SkipConfig) -> jax.Array:
    """Bool []: whether `skip` accepts a batch of this loss and gradient norm."""
    is_spike = (state.updates >= skip.warmup_updates) & (norm > skip.spike_factor * state.grad_norm)
    is_sound = jnp.isfinite(loss) & jnp.isfinite(norm) & ~is_spike
    return is_sound if skip.max_grad_norm is None else is_sound & (norm < skip.max_grad_norm)


def warmup_decay(decay: float, step: jax.Array) -> jax.Array:
    """min(decay, (1 + n) / (10 + n)) after n updates: a short average while there are few of them."""
    n = step.astype(jnp.float32)
    return jnp.minimum(decay, (1 + n) / (10 + n))


def averaged_params(state: TrainState) -> Any:
    """The exponential moving average of the parameters where there is one, else the parameters."""
    return state.params if state.ema is None else state.ema


def best_state(run: str | Path, state: Any) -> Any:
    """The state of the checkpoint with the lowest validation loss; `state`, the last one, where none was measured.

    `state` may be any pytree that `fit` trained.
    """
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    with contextlib.closing(Checkpoints(Path(run) / "checkpoints", is_reader=True)) as saved:
        step = saved.best()
        return state if step is None else saved.restore(step, like)[0]
