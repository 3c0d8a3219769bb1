"""The cluster that JAX would detect for `--processes.coordinator cluster`, from the environment; joins nothing."""

import importlib.util
from collections.abc import Mapping
from typing import NamedTuple

SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
OPEN_MPI = ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")


class Cluster(NamedTuple):
    """A cluster, and a remedy if its processes could not find each other; "" if they can."""

    text: str
    remedy: str


def detect(environment: Mapping[str, str]) -> Cluster | None:
    """The cluster that this process was started in, or None."""
    if "SLURM_JOB_ID" in environment:
        return _slurm(environment)
    if "OMPI_COMM_WORLD_SIZE" in environment:
        return _open_mpi(environment)
    if "KUBERNETES_SERVICE_HOST" in environment:
        return _kubernetes(environment)
    return None


def proxies(environment: Mapping[str, str]) -> list[str]:
    """Variables that may keep processes from connecting."""
    return sorted(name for name in environment if name.lower() in ("http_proxy", "https_proxy", "all_proxy"))


def _slurm(environment: Mapping[str, str]) -> Cluster:
    missing = [name for name in SLURM if name not in environment]
    if missing:
        return Cluster(
            f"SLURM, without {', '.join(missing)}", "start programs by srun, which sets these for every process"
        )
    _, nodes, count, index, local = (environment[name] for name in SLURM)
    return Cluster(
        f"SLURM, process {index} of {count} on {nodes}, takes GPU {local} unless --processes.devices says", ""
    )


def _open_mpi(environment: Mapping[str, str]) -> Cluster:
    where = f"process {environment.get('OMPI_COMM_WORLD_RANK')} of {environment['OMPI_COMM_WORLD_SIZE']}"
    missing = [name for name in OPEN_MPI if name not in environment]
    if missing:
        remedy = "give --processes.coordinator HOST:PORT --processes.count N --processes.index I (Open MPI 5 and newer)"
        return Cluster(f"Open MPI, {where}, without {', '.join(missing)}", remedy)
    local = environment["OMPI_COMM_WORLD_LOCAL_RANK"]
    return Cluster(f"Open MPI, {where}, takes GPU {local} unless --processes.devices says", "")


def _kubernetes(environment: Mapping[str, str]) -> Cluster:
    if importlib.util.find_spec("kubernetes") is None:
        return Cluster(
            "Kubernetes, without the package that asks it", "pip install 'jax[k8s]', if there are more processes"
        )
    if "JOB_COMPLETION_INDEX" not in environment:
        return Cluster("Kubernetes, not in an Indexed Job", "see launch/jobset.yaml, if there are more processes")
    return Cluster(
        f"Kubernetes, process {environment['JOB_COMPLETION_INDEX']} of its Job, takes all GPUs of its pod", ""
    )
