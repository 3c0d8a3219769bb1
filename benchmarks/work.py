"""How much arithmetic the methods do, by hand and by the compiler, and how much the machine can do.

A method is so many UNet predictions, so many gradients (a prediction and its derivative by the empty prompt's
embedding), and for the edit controlled predictions. XLA counts the body of a loop once, so only these unit programs,
which have no loops, are counted, and multiplied. For t steps and k inner steps, per image with one edit:

    ddim, negative_prompt   t forwards                  the inversion, with text only
    direct                  t + 2t forwards             and guided predictions for the offsets
    edit_friendly           2t forwards                 its noisy path takes no network
    null_text               t + 2t forwards, t k gradients   per step: once with text, once to advance
    edit                    t edit steps                4 rows: source and edit, with and without text
      of direct, edit_friendly   t locked edit steps    3 rows: a locked source needs none without text

By hand: two for every multiplication in a matrix product or convolution, from the shapes alone, padding included.
Weights are not differentiated, so a gradient costs about two forwards and not three. What is recomputed to save
memory, or by attention in parts, is not counted: it is no progress.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from unittest import mock

import jax
import jax.numpy as jnp

from prism_jax.editing.control import Control, ControlledAttention
from prism_jax.editing.inversion import SOURCE_LOCKED
from prism_jax.flops import TOKENS
from prism_jax.models import attention
from prism_jax.models.unet import UNet2DCondition, UNetConfig
from prism_jax.weights import pretrained

Count = Callable[[Callable, tuple], float]  # (function, shapes of its arguments) -> operations


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitCosts:
    """Floating-point operations of the unit programs, each for one image."""

    forward: float
    gradient: float
    edit_step: float
    locked_edit_step: float


def totals(method: str, costs: UnitCosts, *, steps: int, inner_steps: int) -> tuple[float, float]:
    """Operations per image of inversion and edit."""
    forwards = {"ddim": 1, "negative_prompt": 1, "direct": 3, "edit_friendly": 2, "null_text": 3}[method]
    gradients = inner_steps if method == "null_text" else 0
    invert = steps * (forwards * costs.forward + gradients * costs.gradient)
    return invert, steps * (costs.locked_edit_step if method in SOURCE_LOCKED else costs.edit_step)


def unit_costs(config: UNetConfig, side: int, count: Count) -> UnitCosts:
    """The unit programs of the UNet `config` on latents of `side`, counted by `by_hand` or `by_compiler`."""
    unet = pretrained.abstract(UNet2DCondition, dataclasses.replace(config, remat=False))
    shaped = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    t = jax.ShapeDtypeStruct((), jnp.int32)
    rows = lambda n: (shaped(n, side, side, config.in_channels), t, shaped(n, TOKENS, config.cross_attention_dim))
    share = jax.ShapeDtypeStruct((1, 1), jnp.bool_)
    weights = shaped(1, 1, TOKENS)
    control = Control(
        mapper=shaped(1, 1, TOKENS, TOKENS), source_weight=weights, edit_weight=weights, replace_self=share
    )
    with plain_attention():
        return UnitCosts(
            forward=count(lambda unet, *inputs: unet(*inputs), (unet, *rows(1))),
            gradient=count(_gradient, (unet, *rows(1))),
            edit_step=count(_controlled, (unet, control, *rows(4))),
            locked_edit_step=count(_controlled, (unet, control, *rows(3))),
        )


def by_compiler(function: Callable, shapes: tuple) -> float:
    """The compiler's count: all arithmetic, and of convolutions only those not on padding."""
    return float(jax.jit(function).lower(*shapes).compile().cost_analysis()["flops"])


def _gradient(unet, latents, t, context):
    return jax.value_and_grad(lambda context: jnp.sum(unet(latents, t, context)))(context)


def _controlled(unet, control, latents, t, context):
    return unet(latents, t, context, control=ControlledAttention(control, map_side=None))


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Attention as two matrix products: fused kernels and loops hide their work from the counts."""
    plain = partial(jax.nn.dot_product_attention, implementation="xla")
    with mock.patch.object(attention, "dot_product_attention", plain):
        yield
