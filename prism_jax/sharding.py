"""One device mesh with axes `data` and `fsdp`, and how batches and state lie on it.

Every device works on its own part of a batch. Along `fsdp` the training state is cut (Zhao et al. 2023,
arXiv 2304.11277), along `data` it is copied.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp")
REPLICATED = PartitionSpec()  # the same on every device
BATCH = PartitionSpec(AXES)  # the leading axis cut over all devices
STEP_BATCH = PartitionSpec(None, AXES)  # the second axis cut: [t, b, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardingConfig:
    """How the training state lies on the devices."""

    fsdp: int = 1
    """Devices that share one copy of parameters, moments and average; 1: every device has its own."""
    rules: tuple[tuple[str, str], ...] = ((".*", "fsdp"),)
    """(regular expression over the dotted path of an array, "fsdp" or "replicate"); the first that is found counts."""
    min_size: int = 2**16
    """Arrays of fewer elements are never cut: their messages would cost more than their memory."""

    def __post_init__(self) -> None:
        unknown = [tactic for _, tactic in self.rules if tactic not in ("fsdp", "replicate")]
        if unknown:
            raise ValueError(f"sharding tactic {unknown[0]!r} is not known; use fsdp or replicate")


def make_mesh(devices: Sequence[jax.Device] | None = None, *, fsdp: int = 1) -> Mesh:
    """All devices (or `devices`), `fsdp` of them along that axis and the others along `data`.

    Axis types are given: JAX would default to explicit ones. ValueError if `fsdp` does not divide the devices.
    """
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or len(devices) % fsdp:
        fitting = [n for n in range(1, len(devices) + 1) if len(devices) % n == 0]
        raise ValueError(f"fsdp {fsdp} does not divide {len(devices)} devices; use one of {fitting}")
    shape = (len(devices) // fsdp, fsdp)
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto, AxisType.Auto), devices=devices)


def place(tree: Any, mesh: Mesh, config: ShardingConfig) -> Any:
    """A sharding for every array (or shape) of `tree`: cut along its largest axis that divides, or whole."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, _spec(dotted(path), leaf.shape, mesh, config)), tree
    )


def _spec(name: str, shape: tuple[int, ...], mesh: Mesh, config: ShardingConfig) -> PartitionSpec:
    tactic = next((tactic for pattern, tactic in config.rules if re.search(pattern, name)), "replicate")
    parts = mesh.shape["fsdp"]
    fitting = [axis for axis, side in enumerate(shape) if side % parts == 0]
    if tactic == "replicate" or parts == 1 or math.prod(shape) < config.min_size or not fitting:
        return REPLICATED
    largest = max(fitting, key=lambda axis: shape[axis])
    return PartitionSpec(*(None,) * largest, "fsdp")


def all_gather_params(tree: Any, specs: Any) -> Any:
    """Within `jax.shard_map`: each device's parts of arrays that are cut as `specs` say, whole."""

    def gather(part: jax.Array, spec: PartitionSpec) -> jax.Array:
        return jax.lax.all_gather(part, "fsdp", axis=len(spec) - 1, tiled=True) if "fsdp" in spec else part

    return jax.tree.map(gather, tree, specs)


def reduce_scatter_grads(tree: Any, specs: Any) -> Any:
    """Within `jax.shard_map`: the sums over all devices of whole arrays, each device's part as `specs` cut them."""

    def reduce(array: jax.Array, spec: PartitionSpec) -> jax.Array:
        if "fsdp" not in spec:
            return jax.lax.psum(array, AXES)
        part = jax.lax.psum_scatter(array, "fsdp", scatter_dimension=len(spec) - 1, tiled=True)
        return jax.lax.psum(part, "data")

    return jax.tree.map(reduce, tree, specs)


def dotted(path: tuple[Any, ...]) -> str:
    """The path of an array in a pytree as `params.unet.conv_in.kernel`."""
    names = ("key", "name", "idx")
    return ".".join(str(next((getattr(entry, n) for n in names if hasattr(entry, n)), entry)) for entry in path)


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, REPLICATED)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The leading (batch) axis cut over all devices."""
    return NamedSharding(mesh, BATCH)


def shard_map_over_batch(
    function: Callable[..., Any], mesh: Mesh | None, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
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


def to_global(tree: Any, where: Any) -> Any:
    """Host arrays, the same in every process, as global arrays; `where` is a sharding, or one for each array."""
    if isinstance(where, NamedSharding):
        where = jax.tree.map(lambda _: where, tree)
    place = lambda x, at: jax.make_array_from_callback(np.shape(x), at, lambda index: np.asarray(x)[index])
    return jax.tree.map(place, tree, where)


def host_batch_to_global(batch: Any, mesh: Mesh) -> Any:
    """This host's part of a batch (numpy arrays, leading axis b / hosts) as global arrays cut over `mesh`."""
    over = batch_sharding(mesh)
    return jax.tree.map(lambda part: jax.make_array_from_process_local_data(over, np.asarray(part)), batch)
