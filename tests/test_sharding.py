"""Batches are cut over all devices, and sizes that cannot be are refused with a size that can."""

import jax
import numpy as np
import pytest

from prism_jax import sharding


def test_a_batch_is_cut_over_all_devices_and_comes_back_whole():
    batch = {"image": np.arange(32.0).reshape(16, 2), "id": np.arange(16, dtype=np.uint32)}
    placed = sharding.put_batch(batch, sharding.make_mesh())
    assert {shard.data.shape for shard in placed["image"].addressable_shards} == {(2, 2)}
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(placed), batch)


@pytest.mark.parametrize(("batch_size", "remedy"), [(30, "use 24 or 32"), (3, "use 8"), (0, "use 8"), (-8, "use 8")])
def test_a_batch_that_does_not_divide_names_sizes_that_do(batch_size, remedy):
    with pytest.raises(ValueError, match=f"batch_size {batch_size} does not divide over 8 devices; {remedy}$"):
        sharding.check_batch_size(batch_size, sharding.make_mesh())
    sharding.check_batch_size(24, sharding.make_mesh())
