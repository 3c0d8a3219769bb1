"""Floating-point operations (FLOPs) of programs, counted from shapes, and of devices, measured.

Counted: two for every multiplication in a matrix product or convolution, from the shapes alone, padding included.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval

from prism_jax.models.unet import UNet2DCondition, UNetConfig
from prism_jax.weights import pretrained

TOKENS = 77


def by_hand(function: Callable, shapes: tuple, *, trips: int | None = None) -> float:
    """Matrix products and convolutions, from their shapes. `trips` is how often the body of a while loop runs."""
    return _multiplications(jax.make_jaxpr(function)(*shapes).jaxpr, trips) * 2


def unet_forward(config: UNetConfig, side: int) -> float:
    """One prediction for one image with latents of `side`."""
    # In float32: half precision may use fused kernels, whose work cannot be counted from shapes.
    unet = pretrained.abstract(UNet2DCondition, dataclasses.replace(config, remat=False, dtype=jnp.float32))
    shaped = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    latents, context = shaped(1, side, side, config.in_channels), shaped(1, TOKENS, config.cross_attention_dim)
    return by_hand(lambda unet, *rest: unet(*rest), (unet, latents, jax.ShapeDtypeStruct((), jnp.int32), context))


def unet_training(config: UNetConfig, side: int) -> float:
    """FLOPs of a training step for one image: three times the forward pass; recomputation is not counted."""
    return 3 * unet_forward(config, side)


def peak_training_rate(config: UNetConfig, side: int, batch_size: int, devices: int) -> float | None:
    """Training steps per second at the matrix peak of all devices; None on CPUs, where that peak is not meaningful."""
    if jax.default_backend() == "cpu":
        return None
    return matrix_peak(config.dtype) * devices / (batch_size * unet_training(config, side))


def matrix_peak(dtype: jnp.dtype) -> float:
    """Operations per second of one large matrix product in `dtype` on one device: the best of five runs."""
    n = 2048 if jax.default_backend() == "cpu" else 8192
    matrix = jax.random.normal(jax.random.key(0), (n, n)).astype(dtype)
    square = jax.jit(lambda x: x @ x)
    square(matrix).block_until_ready()
    return 2 * n**3 / min(seconds(square, matrix) for _ in range(5))


def seconds(function: Callable, *args: Any) -> float:
    """Seconds that one call takes, until its arrays are computed."""
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    return time.perf_counter() - start


def _multiplications(jaxpr: Any, trips: int | None) -> float:
    # Gradients written by hand give those of all arguments; the ones that are not wanted are never computed.
    used, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return sum(_of_equation(equation, trips) for equation in used.eqns)


def _of_equation(equation: Any, trips: int | None) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        contracted = params["dimension_numbers"][0][0]
        left = equation.invars[0].aval.shape
        return math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        outputs = kernel[params["dimension_numbers"].rhs_spec[0]]
        filled_in = math.prod(params["lhs_dilation"])  # one of this many inputs is not a zero inserted by dilation
        return math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) / outputs / filled_in
    if name == "while" and trips is None:
        raise ValueError("a while loop in a program to be counted; say how many trips it makes")
    times = {"scan": params.get("length"), "while": trips}.get(name, 1)
    return times * sum(_multiplications(inner, trips) for inner in _inner(params))


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        closed = getattr(value, "jaxpr", value)
        if hasattr(closed, "eqns"):
            yield closed
