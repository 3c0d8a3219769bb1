"""One device mesh with the axes `data` and `fsdp`, and the shardings of batches and training state on it.

Every device works on its own part of a batch. The training state is sharded along `fsdp` and replicated along `data`.
Once per step all parameters are gathered, and gradients are reduced to each device's shard (as in ZeRO, Rajbhandari et
al. 2020, arXiv 1910.02054). Parameters, moments and average thus take 1/fsdp of the memory between steps, but within a
step every device holds a full copy of the parameters: they are not gathered layer by layer.
"""

import collections
import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp")
REPLICATED = PartitionSpec()
BATCH = PartitionSpec(AXES)  # the leading axis sharded over all devices
STEP_BATCH = PartitionSpec(None, AXES)  # the second axis sharded: [t, b, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardingConfig:
    """Sharding of the training state over devices."""

    fsdp: int = 1
    """Devices over which parameters, moments and average are sharded; 1: every device holds all of them.

    Within a step every device still holds a full copy of the parameters."""
    min_size: int = 2**16
    """Arrays with fewer elements are replicated: communicating them would cost more than the memory they take."""


def make_mesh(
    devices: Sequence[jax.Device] | None = None, *, fsdp: int = 1, batch_size: int | None = None, copied: int = 0
) -> Mesh:
    """All devices (or `devices`), `fsdp` of them along that axis and the others along `data`.

    CPU cores (`entrypoint.use_all_cores`) are left out where `batch_size` does not divide over all of them, and where
    `copied` bytes for each would take more than half of the host's memory; accelerators never are.

    Axis types are set to Auto, since JAX defaults to explicit ones. ValueError if `fsdp` does not divide the number of
    devices.
    """
    devices = jax.devices() if devices is None else devices
    if devices[0].platform == "cpu" and batch_size is not None:
        devices = _dividing(devices, batch_size, fsdp, most=max(1, _host_memory() // 2 // max(1, copied)))
    if fsdp < 1 or len(devices) % fsdp:
        fitting = [n for n in range(1, len(devices) + 1) if len(devices) % n == 0]
        raise ValueError(f"fsdp {fsdp} does not divide {len(devices)} devices; use one of {fitting}")
    shape = (len(devices) // fsdp, fsdp)
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto, AxisType.Auto), devices=devices)


def local_mesh(batch_size: int) -> Mesh | None:
    """The devices of this process that `batch_size` divides over; None where that is only one."""
    devices = _dividing(jax.local_devices(), batch_size)
    return make_mesh(devices) if len(devices) > 1 else None


def _dividing(
    devices: Sequence[jax.Device], batch_size: int, fsdp: int = 1, most: int | None = None
) -> Sequence[jax.Device]:
    """The largest selection with equally many devices, up to `most`, of every process that divides `batch_size`."""
    of_process = collections.defaultdict(list)
    for device in devices:
        of_process[device.process_index].append(device)
    for each in range(min(most or len(devices), *map(len, of_process.values())), 0, -1):
        if batch_size % (count := each * len(of_process)) == 0 and count % fsdp == 0:
            return [device for part in of_process.values() for device in part[:each]]
    return devices


def _host_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def place(tree: Any, mesh: Mesh, config: ShardingConfig) -> Any:
    """The sharding of every array (or shape) of `tree`: along its largest axis that divides by fsdp, or replicated."""
    return jax.tree.map(lambda leaf: NamedSharding(mesh, _spec(leaf.shape, mesh, config)), tree)


def _spec(shape: tuple[int, ...], mesh: Mesh, config: ShardingConfig) -> PartitionSpec:
    shards = mesh.shape["fsdp"]
    fitting = [axis for axis, side in enumerate(shape) if side % shards == 0]
    if shards == 1 or math.prod(shape) < config.min_size or not fitting:
        return REPLICATED
    largest = max(fitting, key=lambda axis: shape[axis])
    return PartitionSpec(*(None,) * largest, "fsdp")


def all_gather_params(tree: Any, specs: Any) -> Any:
    """Within `jax.shard_map`: full arrays from the shards that `specs` describe."""

    def gather(part: jax.Array, spec: PartitionSpec) -> jax.Array:
        return jax.lax.all_gather(part, "fsdp", axis=len(spec) - 1, tiled=True) if "fsdp" in spec else part

    return jax.tree.map(gather, tree, specs)


def reduce_scatter_grads(tree: Any, specs: Any) -> Any:
    """Within `jax.shard_map`: sums full arrays over all devices and keeps each device's shard, as in `specs`."""

    def reduce(array: jax.Array, spec: PartitionSpec) -> jax.Array:
        if "fsdp" not in spec:
            return jax.lax.psum(array, AXES)
        part = jax.lax.psum_scatter(array, "fsdp", scatter_dimension=len(spec) - 1, tiled=True)
        return jax.lax.psum(part, "data")

    return jax.tree.map(reduce, tree, specs)


def gather_params_first(step: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """`step(state, ...)` for a sharded `state`: its parameters are gathered once, before their first use.

    Otherwise XLA's partitioner also splits single layers along the axis over which the batch is sharded, and sends
    activations between devices (benchmarks/SCALING.md).
    """

    def gathered(state: Any, *rest: Any) -> Any:
        params = jax.lax.with_sharding_constraint(state.params, replicated(mesh))
        return step(state.replace(params=params), *rest)

    return gathered


def dotted(path: tuple[Any, ...]) -> str:
    """The path of an array in a pytree as `params.unet.conv_in.kernel`."""
    names = ("key", "name", "idx")
    return ".".join(str(next((getattr(entry, n) for n in names if hasattr(entry, n)), entry)) for entry in path)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that every device holds."""
    return NamedSharding(mesh, REPLICATED)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: its leading axis over all devices."""
    return NamedSharding(mesh, BATCH)


def shard_map_over_batch(
    function: Callable[..., Any], mesh: Mesh | None, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """`function` applied to each device's part of a batch, without waiting for other devices. No mesh: `function`."""
    if mesh is None:
        return function
    # The replication check cannot follow loops whose length depends on the device's own images.
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises ValueError unless `batch_size` (over all hosts) divides over the devices of `mesh`."""
    devices = mesh.size
    if batch_size < 1 or batch_size % devices:
        below = batch_size // devices * devices
        remedy = f"{below} or {below + devices}" if below > 0 else f"{devices}"
        raise ValueError(f"batch_size {batch_size} does not divide over {devices} devices; use {remedy}")


def to_global(tree: Any, where: Any) -> Any:
    """Host arrays, the same in every process, as global arrays; `where` is a sharding, or one for each array."""
    if isinstance(where, NamedSharding):
        where = jax.tree.map(lambda _: where, tree)
    place = lambda x, at: jax.make_array_from_callback(np.shape(x), at, lambda index: np.asarray(x)[index])
    return jax.tree.map(place, tree, where)


def host_batch_to_global(batch: Any, mesh: Mesh) -> Any:
    """This host's part of a batch (NumPy arrays, leading axis b / hosts) as global arrays sharded over `mesh`."""
    over = batch_sharding(mesh)
    return jax.tree.map(lambda part: jax.make_array_from_process_local_data(over, np.asarray(part)), batch)
