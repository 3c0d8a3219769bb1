"""Batches are cut over all devices, and sizes that cannot be are refused with a size that can."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks import collectives
from prism_jax import sharding
from prism_jax.sharding import ShardingConfig
from prism_jax.training import loop
from prism_jax.training import state as states
from prism_jax.training.predict import predict_dataset


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
    ("options", "size"),
    [
        (dict(batch_size=16), 8),
        (dict(batch_size=12), 6),
        (dict(batch_size=12, fsdp=4), 4),  # 6 devices would not divide by 4
        (dict(batch_size=7), 7),
        (dict(batch_size=1), 1),
        (dict(batch_size=11), 1),
        (dict(batch_size=16, copied=2**60), 1),  # no second copy fits the memory
        ({}, 8),
    ],
)
def test_a_program_takes_the_cpu_cores_that_its_batch_divides_over(options, size):
    assert sharding.make_mesh(**options).size == size


def test_a_batch_of_no_images_takes_all_cores_and_is_refused():
    with pytest.raises(ValueError, match="batch_size 0 does not divide over 8 devices"):
        sharding.check_batch_size(0, sharding.make_mesh(batch_size=0))


def test_predictions_use_the_devices_of_this_process_and_equal_those_of_one():
    shards = []

    def predict(batch):
        shards.append(len(jnp.asarray(batch["x"]).sharding.device_set))
        return {"y": jnp.sin(batch["x"]).sum(1), "drawn": jax.vmap(jax.random.uniform)(batch["key"])}

    rows = {"x": np.random.default_rng(0).normal(size=(11, 5)), "key": jax.random.split(jax.random.key(0), 11)}
    many = predict_dataset(predict, rows, 4)
    one = predict_dataset(predict, rows, 1)
    assert shards == [4] * 3 + [1] * 11
    np.testing.assert_array_equal(many["drawn"], one["drawn"])
    np.testing.assert_allclose(many["y"], one["y"], rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "placement", "spec"),
    [
        ((12, 64, 32), ShardingConfig(fsdp=4, min_size=0), (None, "fsdp")),  # the largest axis
        ((64, 6, 3), ShardingConfig(fsdp=4, min_size=0), ("fsdp",)),
        ((66, 8), ShardingConfig(fsdp=4, min_size=0), (None, "fsdp")),  # the largest that divides
        ((6, 7), ShardingConfig(fsdp=4, min_size=0), ()),  # none divides
        ((64, 64), ShardingConfig(fsdp=4, min_size=4097), ()),  # too small
        ((64, 64), ShardingConfig(fsdp=1, min_size=0), ()),
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


def test_a_mesh_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"fsdp 3 does not divide 8 devices; use one of \[1, 2, 4, 8\]"):
        sharding.make_mesh(fsdp=3)


def small_step(state, frozen, batch, key):
    """Two layers, whose sides divide by the devices too: the partitioner could split either."""
    tx = optax.sgd(0.1)

    def loss_of(params):
        hidden = jnp.tanh(batch["x"] @ params["first"])
        return jnp.mean((hidden @ params["second"]) ** 2)

    loss, grads = jax.value_and_grad(loss_of)(state.params)
    state, metrics = states.update(state, loss, grads, tx=tx, schedule=lambda step: 0.1, ema_decay=None)
    return state, {"loss": loss, **metrics}


def test_parameters_of_a_sharded_state_are_gathered_once_and_the_step_is_the_same():
    draw = np.random.default_rng(0)
    params = {name: draw.normal(size=(32, 32)).astype(np.float32) for name in ("first", "second")}
    create = partial(states.create, tx=optax.sgd(0.1), ema=False)
    x = draw.normal(size=(16, 32)).astype(np.float32)
    results = {}
    for fsdp in (1, 8):
        mesh = sharding.make_mesh(fsdp=fsdp)
        where = sharding.place(jax.eval_shape(create, params), mesh, ShardingConfig(fsdp=fsdp, min_size=0))
        step = loop.jitted(sharding.gather_params_first(small_step, mesh), mesh, where)
        with jax.set_mesh(mesh):
            inputs = jax.device_put(create(params), where), None, sharding.host_batch_to_global({"x": x}, mesh), None
            sent = collectives.count(step.lower(*inputs).compile().as_text())
            results[fsdp] = jax.device_get(step(*inputs))
        assert sent.keys() == ({"all-reduce"} if fsdp == 1 else {"all-reduce", "all-gather"})
    assert sent["all-gather"].bytes == 2 * 32 * 32 * 4
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), results[1], results[8])
