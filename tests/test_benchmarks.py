"""The benchmarks count the work of the methods and set up their tables; the PyTorch peer is not needed for that."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from benchmarks import editing as program
from benchmarks import memory, tables, work
from benchmarks.subjects import Case
from prism_jax.editing import Edit
from prism_jax.editing.control import Control
from prism_jax.editing.edit import SourcePath, _edit
from prism_jax.editing.inversion import METHODS, _invert
from prism_jax.models.unet import UNetConfig

BATCH, SIDE, STEPS, INNER = 2, 4, 3, 2
TINY = UNetConfig.tiny()


@pytest.fixture(scope="module")
def costs() -> work.UnitCosts:
    return work.unit_costs(TINY, SIDE, work.by_hand)


def shaped(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


@pytest.mark.parametrize("is_differentiated", [False, True])
def test_counts_of_a_strided_convolution_agree_with_the_compiler(is_differentiated):
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    function = jax.grad(lambda *args: jnp.sum(convolve(*args) ** 2)) if is_differentiated else convolve
    shapes = (shaped(2, 33, 33, 8), shaped(3, 3, 8, 16))
    assert work.by_hand(function, shapes) == pytest.approx(work.by_compiler(function, shapes), rel=0.15)


def test_a_matrix_product_takes_two_operations_per_multiplication():
    assert work.by_hand(jnp.matmul, (shaped(3, 4), shaped(4, 5))) == 2 * 3 * 4 * 5


def test_a_loop_of_unknown_length_is_not_counted():
    loop = lambda x: jax.lax.while_loop(lambda x: x.sum() < 1, lambda x: x @ x, x)
    assert work.by_hand(loop, (shaped(2, 2),), trips=3) == 3 * 2 * 2**3
    with pytest.raises(ValueError, match="trips"):
        work.by_hand(loop, (shaped(2, 2),))


def test_a_gradient_costs_less_than_three_predictions(costs):
    assert costs.forward < costs.gradient < 3 * costs.forward


@pytest.mark.parametrize("method", METHODS)
def test_the_formula_gives_what_the_whole_programs_take(costs, method):
    arguments = memory.shapes(TINY, BATCH, SIDE, STEPS)
    inversion = partial(_invert, method=method, inner_steps=INNER, mesh=None)
    made = jax.eval_shape(inversion, *arguments)
    invert, edit = work.totals(method, costs, steps=STEPS, inner_steps=INNER)
    assert BATCH * invert == work.by_hand(inversion, arguments, trips=INNER)
    assert BATCH * edit == work.by_hand(partial(_edit, eta=0.0, mesh=None), edit_arguments(arguments, made))


def edit_arguments(arguments: tuple, made: dict[str, Any]) -> tuple:
    """What `_edit` takes after an inversion, as shapes."""
    unet, latents, context, _, table, _ = arguments
    offsets = made.get("offsets")
    path = SourcePath(table=table, null_context=made["null_context"], target=offsets, offset=offsets)
    weights = shaped(STEPS, BATCH, 1, work.TOKENS)
    control = Control(
        mapper=shaped(BATCH, 1, work.TOKENS, work.TOKENS),
        take=weights,
        keep=weights,
        share=shaped(STEPS, BATCH, 1, dtype=jnp.bool_),
    )
    contexts = shaped(BATCH, 2, *context.shape[1:])
    return unet, latents, path, contexts, shaped(BATCH, 2), shaped(BATCH, 1), control, None


def test_a_run_without_peer_fills_the_tables(tiny_sd, costs, tmp_path):
    case = Case(
        latents=jnp.ones((2, 4, 4, 4)),
        prompts=("chest ray of a man", "chest ray with effusion"),
        edits=((Edit(prompt="chest ray of a woman"),), (Edit(prompt="chest ray with no effusion"),)),
    )
    options = program.Options(methods=("ddim",), batches=(2,), steps=STEPS, repeats=2)
    rows = list(program.batch_rows(options, tiny_sd, case, None, tmp_path))
    assert [len(row.invert) for row in rows] == [2]
    sizes = dict(steps=STEPS, inner_steps=INNER)
    lines = tables.speeds(rows, {"ddim": work.totals("ddim", costs, **sizes)}, peak=1e12).splitlines()
    assert len(lines) == 3
    assert len({line.count("|") for line in lines}) == 1
    assert "ddim: edit" in tables.counts(["ddim"], costs, None, **sizes)


def test_the_speedup_compares_the_best_batch_sizes():
    row = tables.Row(method="null_text", program="prism_jax", batch=1, first=9.0, invert=(1.0, 3.0), edit=(0.5, 0.5))
    peer = dataclasses.replace(row, program="torch eager", batch=4, invert=(20.0,), edit=(4.0,))
    assert row.compile == 6.5
    assert tables.speedup([row]) == ""
    assert "2.4 times as fast" in tables.speedup([row, dataclasses.replace(row, invert=(5.0,)), peer])


def test_an_unknown_method_is_refused_before_anything_is_loaded():
    with pytest.raises(ValueError, match="not known"):
        program.main(program.Options(model="nowhere", methods=("guess",)))
