"""The launch scripts start a stopped run again, leave a finished one, and pass errors on."""

import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[2] / "launch"

# In place of the programs: `prism` notes what it is called with, and ends as the files latents and finetune say.
PRISM = """#!/bin/bash
echo "$SLURM_PROCID $CUDA_VISIBLE_DEVICES $*" >> "$PLACE/calls"
case "$2" in
    encode_latents) exit "$(cat "$PLACE/latents")" ;;
    finetune)
        [[ $(cat "$PLACE/finetune") != wait ]] || { trap 'exit 75' TERM; touch "$PLACE/waits"; sleep 20 & wait; }
        exit "$(cat "$PLACE/finetune")" ;;
esac
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
SLURM_PROCID=3 SLURM_LOCALID=3 "$@"
"""
SCONTROL = """#!/bin/bash
echo "$*" > "$PLACE/requeued"
"""


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder with the stand-ins, for a run that has finished."""
    for name, text in {"prism": PRISM, "srun": SRUN, "scontrol": SCONTROL}.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    for name, text in {"latents": "0", "finetune": "0"}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def environment(place: Path, **more: str) -> dict[str, str]:
    slurm = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "16", "SLURM_NTASKS_PER_NODE": "8", "SLURM_GPUS_ON_NODE": "4"}
    return {"PLACE": str(place), "PATH": f"{place / 'bin'}:{os.environ['PATH']}"} | slurm | more


def slurm(place: Path, *args: str, **more: str) -> tuple[int, list[str]]:
    """The exit code of the batch script, and the calls of Python, each begun by process and visible devices."""
    command = ["bash", str(LAUNCH / "slurm.sbatch"), *args]
    code = subprocess.run(command, env=environment(place, **more), capture_output=True, timeout=60).returncode
    calls = place / "calls"
    return code, calls.read_text().splitlines() if calls.exists() else []


def test_every_gpu_has_a_process_that_takes_it_by_its_local_index(place):
    code, (latents, finetune) = slurm(place, "a/b", str(place / "a"), "--seed", "1 2")
    assert code == 0
    assert latents == (
        f"3 3 train encode_latents --processes.count 16 --processes.index 3 --config a/b --run {place}/a --seed 1 2"
    )
    assert finetune == (f"3  train finetune --config a/b --run {place}/a --processes.coordinator cluster --seed 1 2")
    assert not (place / "requeued").exists()


def test_one_process_a_node_names_all_its_devices(place):
    code, (latents, finetune) = slurm(place, "c", str(place / "r"), SLURM_NTASKS_PER_NODE="1")
    assert code == 0
    assert latents.startswith("3 0,1,2,3 train encode_latents")
    assert finetune.endswith("--processes.coordinator cluster --processes.devices 0 1 2 3")


@pytest.mark.parametrize(
    ("ended", "code", "is_requeued"),
    [
        ({"finetune": "75"}, 0, True),  # stopped by SIGTERM, saved
        ({"latents": "143"}, 0, True),  # killed by SIGTERM
        ({"finetune": "2"}, 2, False),  # wrong input
        ({"finetune": "1"}, 1, False),
        ({"latents": "2"}, 2, False),
    ],
)
def test_a_stopped_job_is_queued_again_and_one_that_failed_is_not(place, ended, code, is_requeued):
    for name, text in ended.items():
        (place / name).write_text(text)
    assert slurm(place, "c", str(place / "r"))[0] == code
    assert (place / "requeued").exists() is is_requeued


def test_a_job_without_its_arguments_says_how_it_is_used(place):
    assert slurm(place, "c")[0] != 0
    assert slurm(place, "c")[1] == []


def jobs() -> dict[str, dict]:
    """The jobs of the JobSet by name."""
    *_, jobset = yaml.safe_load_all((LAUNCH / "jobset.yaml").read_text())
    assert jobset["spec"]["network"]["enableDNSHostnames"]
    return {job["name"]: job["template"]["spec"] for job in jobset["spec"]["replicatedJobs"]}


def test_the_jobs_are_what_jax_can_read_its_processes_from():
    for job in jobs().values():
        assert job["completionMode"] == "Indexed"
        assert job["parallelism"] == job["completions"]
        assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (0, "Never")


def pod(place: Path) -> subprocess.Popen:
    """The pod that trains."""
    (container,) = jobs()["train"]["template"]["spec"]["containers"]
    return subprocess.Popen([*container["command"], *container["args"]], env=environment(place))


@pytest.mark.parametrize("code", [0, 2, 75, 134])
def test_a_pod_ends_with_the_code_of_its_program_so_that_all_start_again_after_a_stop(place, code):
    (place / "finetune").write_text(str(code))
    assert pod(place).wait(timeout=60) == code
    assert (place / "calls").read_text().startswith("  train finetune --processes.coordinator cluster --config")


def test_a_pod_hands_sigterm_to_the_program_and_waits_for_it(place):
    (place / "finetune").write_text("wait")
    process = pod(place)
    deadline = time.monotonic() + 30
    while not (place / "waits").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
