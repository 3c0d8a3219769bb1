"""Two processes train like one device, and stop after the same step."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from prism_jax import config as configs
from prism_jax import entrypoint
from tests.programs.test_finetune import losses, small, workshop  # noqa: F401 (a fixture)
from tests.sharded.test_scaling import CUT, STEPS, assert_same_training, final, make, one  # noqa: F401


def run_processes(config, folder, *, stop=None):
    """The same command in two processes of four devices each; `stop` is sent to the second of them at step 8."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    configs.write(config, folder)
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "4",
        # Where two processes share two cores with other tests, one may be half a minute behind the other.
        "XLA_FLAGS": " ".join(
            [
                os.environ["XLA_FLAGS"],
                "--xla_cpu_collective_timeout_seconds=240",
                "--xla_cpu_collective_call_terminate_timeout_seconds=240",
            ]
        ),
    }
    command = [sys.executable, "-m", "train.finetune", "--config", str(folder / "config.json")]
    told = ["--processes.coordinator", coordinator, "--processes.count", "2", "--processes.index"]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    started = [subprocess.Popen([*command, *told, str(i)], **pipes) for i in range(2)]
    try:
        if stop is not None:
            while all(process.poll() is None for process in started) and reached(folder) < 8:
                time.sleep(0.05)
            started[1].send_signal(stop)
        said = [process.communicate(timeout=480)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    code = 0 if stop is None else entrypoint.STOPPED
    assert [process.returncode for process in started] == [code, code], "\n\n".join(said)
    return said


def reached(folder):
    """How many steps the run has logged."""
    return len(losses(folder)) if (folder / "metrics.jsonl").exists() else 0


@pytest.mark.timeout(900)
def test_two_processes_train_as_one_device(workshop, one):
    run = workshop / "processes"
    run_processes(make(workshop, run, sharding=CUT), run)
    assert_same_training(run, one)


@pytest.mark.timeout(900)
def test_two_processes_stop_after_the_same_step_when_one_is_asked_to_and_go_on(workshop, one):
    run = workshop / "stopped"
    config = make(workshop, run, sharding=CUT)
    said = run_processes(config, run, stop=signal.SIGTERM)
    stopped = len(losses(run))
    assert 8 <= stopped < STEPS
    assert all(f"stopped at step {stopped}" in text for text in said)
    run_processes(config, run)
    assert_same_training(run, one)
