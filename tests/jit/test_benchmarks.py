"""The benchmarks count the work of the methods and set up their tables; the PyTorch peer is not needed for that."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks import collectives, compilation, programs, tables, timing, training_step, work
from benchmarks import editing as program
from benchmarks.subjects import Case
from prism_jax import flops
from prism_jax.editing import Edit
from prism_jax.editing.inversion import METHODS
from prism_jax.models.unet import UNet2DCondition
from prism_jax.sharding import ShardingConfig
from prism_jax.weights import pretrained
from tests import tiny_configs

BATCH, SIDE, STEPS, INNER = 2, 4, 3, 2
TINY = tiny_configs.unet()


@pytest.fixture(scope="module")
def costs() -> work.UnitCosts:
    return work.unit_costs(TINY, SIDE, flops.by_hand)


def shaped(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


@pytest.mark.parametrize("is_differentiated", [False, True])
def test_counts_of_a_strided_convolution_agree_with_the_compiler(is_differentiated):
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    function = jax.grad(lambda *args: jnp.sum(convolve(*args) ** 2)) if is_differentiated else convolve
    shapes = (shaped(2, 33, 33, 8), shaped(3, 3, 8, 16))
    assert flops.by_hand(function, shapes) == pytest.approx(work.by_compiler(function, shapes), rel=0.15)


def test_a_matrix_product_takes_two_operations_per_multiplication():
    assert flops.by_hand(jnp.matmul, (shaped(3, 4), shaped(4, 5))) == 2 * 3 * 4 * 5


def test_a_loop_of_unknown_length_is_not_counted():
    loop = lambda x: jax.lax.while_loop(lambda x: x.sum() < 1, lambda x: x @ x, x)
    assert flops.by_hand(loop, (shaped(2, 2),), trips=3) == 3 * 2 * 2**3
    with pytest.raises(ValueError, match="trips"):
        flops.by_hand(loop, (shaped(2, 2),))


def test_a_gradient_costs_less_than_three_predictions(costs):
    assert costs.forward < costs.gradient < 3 * costs.forward


@pytest.mark.parametrize("name", ["encode", "decode", "sample", "finetune"])
def test_programs_can_be_lowered(tiny_sd, name):
    setting = programs.Setting(sd=tiny_sd, batch=1, size=64, steps=STEPS, inner_steps=INNER)
    assert programs.OF_MODEL[name](setting).lower().as_text()


@pytest.mark.parametrize("method", METHODS)
def test_the_formula_gives_what_the_whole_programs_take(tiny_sd, costs, method):
    sd = dataclasses.replace(tiny_sd, unet=pretrained.abstract(UNet2DCondition, TINY))
    size = SIDE * sd.vae.config.factor
    setting = programs.Setting(sd=sd, batch=BATCH, size=size, steps=STEPS, inner_steps=INNER)
    inversion, edit = (programs.OF_MODEL[name](setting) for name in (method, programs.edit_name(method)))
    made = jax.eval_shape(partial(inversion.function, **inversion.static), *inversion.args)
    assert (made["null_context"], made.get("offsets")) == (edit.args[2].null_context, edit.args[2].offset)
    count = lambda program, trips: flops.by_hand(partial(program.function, **program.static), program.args, trips=trips)
    found = count(inversion, INNER), count(edit, None)
    assert found == tuple(BATCH * each for each in work.totals(method, costs, steps=STEPS, inner_steps=INNER))


def test_a_run_without_peer_fills_the_tables(tiny_sd, costs, tmp_path):
    case = Case(
        latents=jnp.ones((2, 4, 4, 4)),
        prompts=("chest ray of a man", "chest ray with effusion"),
        edits=((Edit(prompt="chest ray of a woman"),), (Edit(prompt="chest ray with no effusion"),)),
    )
    options = program.Options(methods=("ddim",), batches=(2,), steps=STEPS, repeats=2)
    rows = list(program.batch_rows(options, tiny_sd, case, None, tmp_path))
    assert [len(row.calls) for row in rows] == [2]
    sizes = dict(steps=STEPS, inner_steps=INNER)
    operations = {"ddim": work.totals("ddim", costs, **sizes)}
    lines = tables.speeds(rows, ("invert", "edit"), operations, peak=1e12).splitlines()
    assert len(lines) == 3
    assert len({line.count("|") for line in lines}) == 1
    assert "ddim: edit" in tables.counts(["ddim"], (costs, costs), **sizes)


def test_the_speedup_compares_the_best_batch_sizes():
    facts = dict(setting="null_text", batch=1, images=1, remat=False)
    row = tables.Row(program="prism_jax", first=9.0, calls=((1.0, 0.5), (3.0, 0.5)), **facts)
    peer = dataclasses.replace(row, program="torch eager", batch=4, images=4, calls=((20.0, 4.0),))
    assert row.compile == 6.5
    assert tables.speedup([row]) == ""
    found = tables.speedup([row, dataclasses.replace(row, calls=((5.0, 0.5), (5.0, 0.5))), peer])
    assert found == "null_text: 2.40 times as fast as torch eager (2.5 s/image at batch 1; 6 at batch 4)"


def test_an_unknown_method_is_refused_before_anything_is_loaded():
    with pytest.raises(ValueError, match="is unknown; use one of ddim"):
        program.main(program.Options(model="nowhere", methods=("guess",)))


ASYNC = """
%wrapped (p: f32[16]) -> f32[4] {
  ROOT %reduce-scatter.1 = f32[4]{0} reduce-scatter(%p), dimensions={0}, to_apply=%add
}

ENTRY %main (p: f32[16]) -> f32[16] {
  %all-gather-start = (f32[4]{0}, f32[16]{0}) all-gather-start(%p), dimensions={0}
  %all-gather-done = f32[16]{0} all-gather-done(%all-gather-start)
  %collective-permute-start = (f32[4]{0}, f32[4]{0}, u32[], u32[]) collective-permute-start(%p)
  %collective-permute-done = f32[4]{0} collective-permute-done(%collective-permute-start)
  %async-start = ((f32[16]{0}), f32[4]{0}, u32[]) async-start(%p), calls=%wrapped
  %async-done = f32[4]{0} async-done(%async-start), calls=%wrapped
  %all-reduce-start = (f32[16]{0}, bf16[8]{0}) all-reduce-start(%p, %q), to_apply=%add
  ROOT %all-reduce-done = (f32[16]{0}, bf16[8]{0}) all-reduce-done(%all-reduce-start)
}
"""


def test_a_collective_that_is_started_and_ended_apart_is_one():
    assert collectives.count(ASYNC) == {
        "all-gather": (1, 64),
        "collective-permute": (1, 16),
        "reduce-scatter": (1, 16),
        "all-reduce": (1, 80),
    }


def test_text_without_a_program_is_refused():
    with pytest.raises(ValueError, match=r"use compiled\.as_text"):
        collectives.count("no program")


def test_images_are_encoded_before_every_step_unless_latents_are_cached():
    made = training_step.placed(
        lambda state, frozen, batch, key: (state + jnp.sum(batch["latents"]), {}),
        lambda params: params,
        jnp.zeros(()),
        training_step.one_device(),
        ShardingConfig(),
        frozen={"scale": jnp.float32(2.0)},
        batch={"image": np.ones((4, 1), np.float32)},
        encode=lambda frozen, batch, key, step: {"latents": frozen["scale"] * batch["image"]},
    )
    for is_cached in (True, False):
        ours = training_step.Training(made, is_cached=is_cached)
        assert ("image" in ours.batch) is not is_cached
        assert ours.seconds(steps=3) > 0
        assert float(ours.state) == 3 * 2 * 4


def test_repeats_alternate_and_a_program_that_fails_is_left_out():
    def fail() -> tuple[float]:
        raise RuntimeError("out of memory")

    calls = []
    runs = {
        "prism_jax": lambda: calls.append("ours") or (2.0,),
        "torch eager": lambda: calls.append("torch") or (4.0,),
        "torch compile": fail,
    }
    rows = list(timing.alternated(runs, 2, setting="cached latents", batch=8, images=16, remat=False))
    assert calls == ["ours", "torch"] * 3
    assert [(row.program, row.per_image) for row in rows] == [("prism_jax", (1 / 8,)), ("torch eager", (1 / 4,))]
    lines = tables.speeds(rows, ("step",), {"cached latents": (1e6,)}, peak=1e12).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1


def test_results_of_the_peer_that_differ_in_float32_are_refused():
    bounds = {"loss": 1e-4}
    timing.check_agreement({"loss": 1e-2}, bounds, "bfloat16")
    with pytest.raises(ValueError, match="something else: loss"):
        timing.check_agreement({"loss": 1e-2}, bounds, "float32")


def test_recomputing_blocks_changes_no_weight(tiny_sd):
    made = training_step.with_remat(tiny_sd, True)
    assert (made.unet.config.remat, tiny_sd.unet.config.remat) == (True, False)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(made.unet), nnx.state(tiny_sd.unet))


def test_what_a_step_sends_is_told_by_kind():
    assert collectives.sent({}) == "nothing"
    counts = {"all-reduce": collectives.Count(3, 2**21), "all-gather": collectives.Count(1, 2**20)}
    assert collectives.sent(counts) == "all-gather 1, 1.0; all-reduce 3, 2.0"


def test_more_devices_than_there_are_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="device_count=64"):
        compilation.main(compilation.Options(programs=("finetune",), devices=64, here=True))


def test_programs_are_compiled_with_the_options_that_they_have():
    options = compilation.Options(programs=("encode", "finetune", "phantom64/image_mechanism"), devices=8, fsdp=(1, 8))
    found = [(one.programs[0], one.models, one.fsdp[0], one.devices) for one in compilation.each(options)]
    model, others = ("phantom",), ("sd15-random",)
    assert found[:2] == [("encode", model, 1, 1), ("encode", others, 1, 1)]
    assert found[2:4] == [("finetune", model, 1, 8), ("finetune", model, 8, 8)]
    assert found[6:] == [("phantom64/image_mechanism", ("",), 1, 8)]
