"""One device mesh with axes `data` and `fsdp`, and how batches and state lie on it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp")
WHOLE = PartitionSpec()  # the same on every device
IMAGES = PartitionSpec(AXES)  # the leading axis cut over all devices
IMAGES_OF_STEPS = PartitionSpec(None, AXES)  # the second axis cut: [t, b, ...]


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices (or `devices`) along `data`. Axis types are given: JAX would default to explicit ones."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices), 1), AXES, axis_types=(AxisType.Auto, AxisType.Auto), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, WHOLE)


def over_batch(mesh: Mesh) -> NamedSharding:
    """The leading (batch) axis cut over all devices."""
    return NamedSharding(mesh, IMAGES)


def by_device(function: Callable[..., Any], mesh: Mesh | None, in_specs: Any, out_specs: Any) -> Callable[..., Any]:
    """`function` of each device's own part of a batch; the devices do not wait for one another. No mesh: itself."""
    if mesh is None:
        return function
    # Loops that end by their own images' losses differ between devices, which the check of replication cannot follow.
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises ValueError unless `batch_size` (over all hosts) divides over the devices of `mesh`."""
    devices = mesh.size
    if batch_size < 1 or batch_size % devices:
        below = batch_size // devices * devices
        remedy = f"{below} or {below + devices}" if below > 0 else f"{devices}"
        raise ValueError(f"batch_size {batch_size} does not divide over {devices} devices; use {remedy}")


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """This host's part of a batch (numpy arrays, leading axis b / hosts) as global arrays cut over `mesh`."""
    over = over_batch(mesh)
    return jax.tree.map(lambda part: jax.make_array_from_process_local_data(over, np.asarray(part)), batch)
