"""One device mesh with axes `data` and `fsdp`, and how batches and state lie on it."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp")


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices (or `devices`) along `data`. Axis types are given: JAX would default to explicit ones."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices), 1), AXES, axis_types=(AxisType.Auto, AxisType.Auto), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """The leading (batch) axis cut over all devices."""
    return NamedSharding(mesh, PartitionSpec(AXES))


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
