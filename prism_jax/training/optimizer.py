"""AdamW with global-norm clipping and a warmed-up learning-rate schedule."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from prism_jax.training import state as states


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW and learning-rate schedule."""

    peak: float = 1e-4
    """Learning rate after the warm-up."""
    warmup: int = 100
    """Steps over which the rate rises linearly from 0."""
    decay: Literal["constant", "cosine", "linear"] = "cosine"
    """How the rate falls from `peak` at the end of the warm-up to `final * peak` at the last step."""
    final: float = 0.0
    """Learning rate at the last step, as a fraction of `peak`."""
    b1: float = 0.9
    """Decay rate of Adam's first moment."""
    b2: float = 0.999
    """Decay rate of Adam's second moment."""
    eps: float = 1e-8
    """Adam's epsilon."""
    weight_decay: float = 0.0
    """Decoupled weight decay of matrices and kernels; not applied to biases and norms."""
    clip: float = 1.0
    """Gradients are clipped to this global norm."""
    first_moment: jnp.dtype = jnp.dtype("float32")
    """Type of Adam's first moment; bfloat16 saves a sixth of the memory of the training state."""


def make_optimizer(config: OptimizerConfig, steps: int) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The transformation for a run of `steps`, and its schedule (step -> learning rate)."""
    schedule = learning_rate(config, steps)
    adamw = optax.adamw(
        schedule,
        b1=config.b1,
        b2=config.b2,
        eps=config.eps,
        weight_decay=config.weight_decay,
        mu_dtype=config.first_moment,
        mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
    )
    return optax.chain(clip_to(config.clip), adamw), schedule


def clip_to(max_norm: float) -> optax.GradientTransformationExtraArgs:
    """`optax.clip_by_global_norm` of gradients whose global norm [] is given as `norm`: computed once in an update."""

    def update(grads: Any, state: optax.EmptyState, params: Any = None, *, norm: jax.Array) -> tuple[Any, Any]:
        factor = jnp.where(norm < max_norm, 1.0, max_norm / norm)
        return jax.tree.map(lambda gradient: gradient * factor.astype(gradient.dtype), grads), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def make_update(config: Any, **options: Any) -> tuple[optax.GradientTransformation, Callable]:
    """The optimizer of a run's configuration, and `state.update` with it: (state, loss, grads) -> (state, metrics)."""
    tx, schedule = make_optimizer(config.optimizer, config.loop.steps)
    ema_decay, skip = getattr(config, "ema_decay", None), getattr(config, "skip", states.SkipConfig())
    return tx, partial(states.update, tx=tx, schedule=schedule, ema_decay=ema_decay, skip=skip, **options)


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Warm-up, then the decay; constant at its last value from `steps` on. A shorter run ends within the warm-up."""
    if config.warmup < 0:
        raise ValueError(f"optimizer.warmup must be 0 or more steps, got {config.warmup}")
    last, fall = config.final * config.peak, max(steps - config.warmup, 1)
    after = {
        "constant": lambda: optax.constant_schedule(config.peak),
        "cosine": lambda: optax.cosine_decay_schedule(config.peak, fall, alpha=config.final),
        "linear": lambda: optax.linear_schedule(config.peak, last, fall),
    }[config.decay]()
    if config.warmup == 0:
        return after
    rise = optax.linear_schedule(config.peak / config.warmup, config.peak, config.warmup - 1)
    return optax.join_schedules([rise if config.warmup > 1 else after, after], [config.warmup])
