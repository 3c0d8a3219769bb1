"""Batches are cut over all devices, and sizes that cannot be are refused with a size that can."""

import jax
import numpy as np
import pytest

from prism_jax import sharding
from prism_jax.sharding import ShardingConfig


def test_a_batch_is_cut_over_all_devices_and_comes_back_whole():
    batch = {"image": np.arange(32.0).reshape(16, 2), "id": np.arange(16, dtype=np.uint32)}
    placed = sharding.host_batch_to_global(batch, sharding.make_mesh())
    assert {shard.data.shape for shard in placed["image"].addressable_shards} == {(2, 2)}
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(placed), batch)


@pytest.mark.parametrize(("batch_size", "remedy"), [(30, "use 24 or 32"), (3, "use 8"), (0, "use 8"), (-8, "use 8")])
def test_a_batch_that_does_not_divide_names_sizes_that_do(batch_size, remedy):
    with pytest.raises(ValueError, match=f"batch_size {batch_size} does not divide over 8 devices; {remedy}$"):
        sharding.check_batch_size(batch_size, sharding.make_mesh())
    sharding.check_batch_size(24, sharding.make_mesh())


@pytest.mark.parametrize(
    ("shape", "placement", "spec"),
    [
        ((12, 64, 32), ShardingConfig(fsdp=4, min_size=0), (None, "fsdp")),  # the largest axis
        ((64, 6, 3), ShardingConfig(fsdp=4, min_size=0), ("fsdp",)),
        ((66, 8), ShardingConfig(fsdp=4, min_size=0), (None, "fsdp")),  # the largest that divides
        ((6, 7), ShardingConfig(fsdp=4, min_size=0), ()),  # none divides
        ((64, 64), ShardingConfig(fsdp=4, min_size=4097), ()),  # too small
        ((64, 64), ShardingConfig(fsdp=1, min_size=0), ()),
        ((64, 64), ShardingConfig(fsdp=4, min_size=0, rules=((r"conv.*kernel", "replicate"), (".*", "fsdp"))), ()),
        ((64, 64), ShardingConfig(fsdp=4, min_size=0, rules=((r"bias", "fsdp"),)), ()),  # no rule is found
    ],
)
def test_arrays_are_cut_along_the_largest_axis_that_divides(shape, placement, spec):
    tree = {"conv_in": {"kernel": jax.ShapeDtypeStruct(shape, np.float32)}}
    mesh = sharding.make_mesh(fsdp=placement.fsdp)
    assert tuple(sharding.place(tree, mesh, placement)["conv_in"]["kernel"].spec) == spec


def test_host_arrays_are_put_where_they_are_placed():
    mesh = sharding.make_mesh(fsdp=4)
    tree = {"a": np.arange(64.0).reshape(8, 8), "b": np.float32(3)}
    placed = sharding.to_global(tree, sharding.place(tree, mesh, ShardingConfig(fsdp=4, min_size=0)))
    assert {shard.data.shape for shard in placed["a"].addressable_shards} == {(2, 8)}
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(placed), tree)


def test_a_mesh_or_a_tactic_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"fsdp 3 does not divide 8 devices; use one of \[1, 2, 4, 8\]"):
        sharding.make_mesh(fsdp=3)
    with pytest.raises(ValueError, match="tactic 'tensor' is not known"):
        ShardingConfig(rules=((".*", "tensor"),))
