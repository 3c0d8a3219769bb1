"""Distributed jobs: several processes that run one program together."""

import dataclasses

import jax

FROM_CLUSTER = "cluster"  # address and counts are read from SLURM, Open MPI, Kubernetes or a TPU pod


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistributedConfig:
    """Number of processes, and the index of this one."""

    count: int = 1
    """Number of processes of the job."""
    index: int = 0
    """Index of this process, from 0."""
    coordinator: str | None = None
    """HOST:PORT of process 0: all processes form one `jax.distributed` job; "cluster" reads address, count and index
    from SLURM, Open MPI or Kubernetes."""
    devices: tuple[int, ...] | None = None
    """Local device ids of this process; by default all visible ones, under SLURM and Open MPI one GPU by local
    index."""

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"process {self.index} of {self.count} is not one; use an index from 0 to count - 1")

    def initialize(self) -> "DistributedConfig":
        """Joins the job, if any, before any other use of devices; returns this with the job's count and index.

        Raises:
          ValueError: there is no such cluster, or its processes did not meet.
        """
        if self.coordinator is None:
            return self
        options = dict(coordinator_address=self.coordinator, num_processes=self.count, process_id=self.index)
        try:
            jax.distributed.initialize(
                **({} if self.coordinator == FROM_CLUSTER else options), local_device_ids=self.devices
            )
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"cannot join the processes of {self.coordinator!r}: {error}") from error
        return dataclasses.replace(self, count=jax.process_count(), index=jax.process_index())
