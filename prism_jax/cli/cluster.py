"""The cluster that JAX would detect for `--processes.coordinator cluster`, from the environment; joins nothing."""

import importlib.util
from collections.abc import Mapping
from typing import NamedTuple

SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
OPEN_MPI = ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")


class Cluster(NamedTuple):
    """A cluster, and a remedy if its processes could not find each other; "" if they can."""

    text: str
    remedy: str = ""


def detect(environment: Mapping[str, str]) -> Cluster | None:
    """The cluster that this process was started in, or None."""
    lacking = lambda names: ", ".join(name for name in names if name not in environment)
    if "SLURM_JOB_ID" in environment:
        if missing := lacking(SLURM):
            return Cluster(f"SLURM, without {missing}", "start programs by srun, which sets these for every process")
        _, nodes, count, index, local = (environment[name] for name in SLURM)
        return Cluster(
            f"SLURM, process {index} of {count} on {nodes}, takes GPU {local} unless --processes.devices says"
        )
    if "OMPI_COMM_WORLD_SIZE" in environment:
        where = f"process {environment.get('OMPI_COMM_WORLD_RANK')} of {environment['OMPI_COMM_WORLD_SIZE']}"
        if missing := lacking(OPEN_MPI):
            remedy = "--processes.coordinator HOST:PORT --processes.count N --processes.index I"
            return Cluster(f"Open MPI, {where}, without {missing}", f"give {remedy} (Open MPI 5 and newer)")
        local = environment["OMPI_COMM_WORLD_LOCAL_RANK"]
        return Cluster(f"Open MPI, {where}, takes GPU {local} unless --processes.devices says")
    if "KUBERNETES_SERVICE_HOST" in environment:
        remedy = "if there are more processes"
        if importlib.util.find_spec("kubernetes") is None:
            return Cluster("Kubernetes, without the package that asks it", f"pip install 'jax[k8s]', {remedy}")
        if "JOB_COMPLETION_INDEX" not in environment:
            return Cluster("Kubernetes, not in an Indexed Job", f"see launch/jobset.yaml, {remedy}")
        index = environment["JOB_COMPLETION_INDEX"]
        return Cluster(f"Kubernetes, process {index} of its Job, takes all GPUs of its pod")
    return None


def proxies(environment: Mapping[str, str]) -> list[str]:
    """Variables that may keep processes from connecting."""
    return sorted(name for name in environment if name.lower() in ("http_proxy", "https_proxy", "all_proxy"))
