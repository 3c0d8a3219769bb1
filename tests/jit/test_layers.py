"""Hand-written gradients of the layers are those of autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prism_jax import flops
from prism_jax.models.layers import Conv1x1, Linear, conv3x3, convolution, product

SHAPES = [(5,), (3, 7, 5), (2, 3, 4, 5)]


def gradients(function, *arrays):
    """Of a scalar that reaches every entry differently."""
    return jax.grad(lambda *arrays: jnp.sum(jnp.sin(function(*arrays))), tuple(range(len(arrays))))(*arrays)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_of_a_product_is_that_of_autodiff_in_float64(shape):
    draw = np.random.default_rng(0)
    with jax.enable_x64(True):
        arrays = [jnp.asarray(draw.normal(size=size), jnp.float64) for size in (shape, (5, 6))]
        np.testing.assert_array_equal(product(*arrays), jnp.matmul(*arrays))
        for got, wanted in zip(gradients(product, *arrays), gradients(jnp.matmul, *arrays), strict=True):
            assert got.dtype == jnp.float64
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


def test_a_product_and_its_gradient_keep_bfloat16():
    draw = np.random.default_rng(0)
    narrow = [jnp.asarray(draw.normal(size=size), jnp.bfloat16) for size in ((3, 7, 5), (5, 6))]
    assert product(*narrow).dtype == jnp.bfloat16
    for got, wanted in zip(gradients(product, *narrow), gradients(jnp.matmul, *narrow), strict=True):
        assert got.dtype == jnp.bfloat16
        np.testing.assert_allclose(*(x.astype(jnp.float32) for x in (got, wanted)), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_compute_what_those_of_flax_do(bias):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 5)), jnp.float32)
    ours, theirs = (kind(5, 6, use_bias=bias, rngs=nnx.Rngs(0)) for kind in (Linear, nnx.Linear))
    np.testing.assert_array_equal(ours(x), theirs(x))
    one, other = Conv1x1(5, 6, rngs=nnx.Rngs(0)), nnx.Conv(5, 6, (1, 1), rngs=nnx.Rngs(0))
    np.testing.assert_allclose(one(x), other(x), atol=1e-6)


def convolved(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize(("dtype", "apart"), [(jnp.float64, 1e-12), (jnp.bfloat16, 5e-2)])
def test_the_gradient_of_a_convolution_is_that_of_autodiff(dtype, apart):
    draw = np.random.default_rng(0)
    with jax.enable_x64(True):
        arrays = [jnp.asarray(draw.normal(size=size), dtype) for size in ((2, 4, 5, 3), (3, 3, 3, 2))]
        assert convolution(*arrays).dtype == dtype
        for got, wanted in zip(gradients(convolution, *arrays), gradients(convolved, *arrays), strict=True):
            assert got.dtype == dtype
            np.testing.assert_allclose(*(x.astype(jnp.float64) for x in (got, wanted)), rtol=apart, atol=apart)


def test_3x3_convolutions_compute_what_those_of_flax_do():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 5)), jnp.float32)
    ours = conv3x3(5, 6, dtype=jnp.float32, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(ours(x), nnx.Conv(5, 6, (3, 3), padding=1, rngs=nnx.Rngs(0))(x))


def test_a_gradient_that_is_not_wanted_is_not_counted_as_work():
    shapes = (jax.ShapeDtypeStruct((3, 5), jnp.float32), jax.ShapeDtypeStruct((5, 6), jnp.float32))
    to_input = jax.grad(lambda x, kernel: product(x, kernel).sum())
    assert flops.by_hand(to_input, shapes) == 2 * 3 * 5 * 6
