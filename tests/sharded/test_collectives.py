"""Collectives in compiled programs are counted with the bytes they leave on a device."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from benchmarks import collectives
from prism_jax import sharding
from tests.jit.test_benchmarks import shaped


def over_devices(function: Callable, *shapes: jax.ShapeDtypeStruct) -> dict[str, tuple]:
    """The collectives of `function`, run by each of 2 x 4 devices."""
    mesh = sharding.make_mesh(fsdp=4)
    sharded = jax.shard_map(function, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)
    return collectives.count(jax.jit(sharded).lower(*shapes).compile().as_text())


@pytest.mark.parametrize(
    ("function", "kind", "size"),
    [
        (lambda x: jax.lax.psum(x, "data"), "all-reduce", 16 * 8 * 4),
        (lambda x: jax.lax.all_gather(x, "fsdp"), "all-gather", 4 * 16 * 8 * 4),
        (lambda x: jax.lax.psum_scatter(x, "fsdp", tiled=True), "reduce-scatter", 4 * 8 * 4),
        (lambda x: jax.lax.ppermute(x, "data", [(0, 1), (1, 0)]), "collective-permute", 16 * 8 * 4),
        (lambda x: jax.lax.all_to_all(x, "fsdp", 0, 0, tiled=True), "all-to-all", 16 * 8 * 4),
    ],
)
def test_a_collective_is_counted_with_what_it_leaves_on_a_device(function, kind, size):
    assert over_devices(function, shaped(16, 8)) == {kind: (1, size)}


def test_several_arrays_in_one_collective_are_one():
    text = (
        "ENTRY %main (p: f32[4]) -> f32[4] {\n  %r = (f32[], /*index=1*/bf16[4,2]{1,0:T(8,128)}) all-reduce(%a, %b)\n}"
    )
    assert collectives.count(text) == {"all-reduce": (1, 4 + 16)}
    sums = lambda x: jax.lax.psum((x, x.astype(jnp.bfloat16)), "data")
    ((number, size),) = over_devices(sums, shaped(16, 8)).values()
    assert number * size >= 16 * 8 * (4 + 2)  # CPUs add bfloat16 as float32


def test_a_collective_in_a_loop_counts_for_every_trip():
    add = lambda x, _: (jax.lax.psum(x, "data"), None)
    twice = lambda x, _: (jax.lax.scan(add, x, length=5)[0], None)
    assert over_devices(lambda x: jax.lax.scan(twice, x, length=3)[0], shaped(16)) == {"all-reduce": (15, 15 * 64)}
    loop = lambda x: jax.lax.while_loop(lambda x: x.sum() < 1, lambda x: jax.lax.psum(x, "data"), x)
    with pytest.raises(ValueError, match="loop of unknown length"):
        over_devices(loop, shaped(16))
