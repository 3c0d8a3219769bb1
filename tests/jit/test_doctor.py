"""`prism doctor` says which processes there are, what cluster it sees, and how attention layers are computed."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest

from prism_jax import pretrained
from prism_jax.cli import attention_paths, cluster, doctor
from prism_jax.cli.attention_paths import CUDNN, MAPS, PARTS, Networks

BFLOAT16 = jnp.dtype(jnp.bfloat16)
SLURM = dict.fromkeys(cluster.SLURM, "3")
OPEN_MPI = dict.fromkeys(cluster.OPEN_MPI, "3")


@pytest.fixture
def on_gpu(monkeypatch) -> None:
    """Only says that it is one: paths are chosen, nothing is computed."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def paths(dtype: jnp.dtype) -> dict[tuple[str, int, int], tuple[str, str]]:
    """Path and reason of the layers of SD 1.5, by network, queries and head width."""
    found = attention_paths.layers(Networks())
    return {(layer.name[:4], layer.queries, layer.width): attention_paths.path(layer, dtype) for layer in found}


def test_the_layers_of_sd15_are_all_there():
    widths = {(layer.queries, layer.keys, layer.width) for layer in attention_paths.layers(Networks())}
    unet = {(64 * 64, 40), (32 * 32, 80), (16 * 16, 160), (8 * 8, 160)}
    assert widths == {(q, k, w) for q, w in unet for k in (q, 77)} | {(64 * 64, 64 * 64, 512), (77, 77, 64)}


def test_a_gpu_takes_narrow_heads_in_half_precision_to_the_fused_kernel(on_gpu):
    found = paths(BFLOAT16)
    assert found["UNet", 4096, 40] == found["UNet", 1024, 80] == found["text", 77, 64] == (CUDNN, "")
    assert found["UNet", 256, 160] == (MAPS, "heads of 160, cuDNN takes multiples of 8 up to 128")
    assert found["VAE", 4096, 512][0] == MAPS


def test_float32_on_a_gpu_is_noted_with_its_remedy(on_gpu):
    assert paths(jnp.dtype(jnp.float32))["UNet", 1024, 80] == (MAPS, "float32, cuDNN takes half precision")
    *layers, last = doctor.attention_layers(Networks(), jnp.dtype(jnp.float32))
    assert all(finding.state == "ok" for finding in layers)
    assert (last.state, last.remedy) == ("note", "compute in bfloat16: --dtype bfloat16")
    assert all(finding.state == "ok" for finding in doctor.attention_layers(Networks(), BFLOAT16))


def test_a_cpu_makes_large_maps_in_parts():
    layer = next(attention_paths.layers(Networks()))
    assert attention_paths.path(layer, BFLOAT16) == (PARTS, "no GPU (cpu)")
    assert attention_paths.path(layer._replace(queries=64, keys=64), BFLOAT16)[0] == MAPS


def test_a_model_of_ones_own_has_its_own_layers():
    assert {layer.width for layer in attention_paths.layers(Networks.of(pretrained.folder("phantom")))} == {
        16,
        32,
        64,
        24,
    }
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        doctor.run(doctor.Options(model=pretrained.folder("phantom/vae")))


def test_the_process_and_its_devices_are_told(monkeypatch):
    for name in (*cluster.SLURM, *cluster.OPEN_MPI, "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    process, around = doctor.processes()
    assert process.text.startswith(f"process 0 of 1: {len(jax.devices())} of {len(jax.devices())} devices")
    assert (around.state, around.text[:13]) == ("ok", "cluster: none")


@pytest.mark.parametrize(
    ("environment", "said", "remedy"),
    [
        (SLURM, "SLURM, process 3 of 3", ""),
        ({"SLURM_JOB_ID": "3"}, "without SLURM_STEP_NODELIST", "srun"),
        (OPEN_MPI, "Open MPI, process 3 of 3", ""),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1"}, "process 1 of 4, without OMPI_MCA", "HOST:PORT"),
    ],
)
def test_a_cluster_is_seen_with_what_it_lacks(environment, said, remedy):
    found = cluster.detect(environment)
    assert said in found.text
    assert remedy in found.remedy
    assert bool(found.remedy) is bool(remedy)


def test_kubernetes_wants_its_package_and_an_indexed_job(monkeypatch):
    pod = {"KUBERNETES_SERVICE_HOST": "x"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "jax[k8s]" in cluster.detect(pod).remedy
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert "jobset.yaml" in cluster.detect(pod).remedy
    assert cluster.detect(pod | {"JOB_COMPLETION_INDEX": "1"}).remedy == ""


def test_proxies_in_a_cluster_are_noted(monkeypatch):
    for name, value in (SLURM | {"HTTPS_PROXY": "x"}).items():
        monkeypatch.setenv(name, value)
    last = list(doctor.processes())[-1]
    assert last.state == "note"
    assert "HTTPS_PROXY" in last.text
