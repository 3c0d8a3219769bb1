"""A run folder has one process at a time and one training."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from prism_jax import config as configs
from prism_jax.training import run_folder
from prism_jax.training.classifier.run import ClassifierRun
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig

HOLD = """
import sys, time
from prism_jax.training import run_folder
with run_folder.locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path / "run"."""
    command = [sys.executable, "-c", HOLD, tmp_path / "run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_told_who_holds_the_folder(holder, tmp_path):
    said = json.loads((tmp_path / "run" / run_folder.HOLDER).read_text())
    message = rf"in use by process {holder.pid} on {said['host']}, started {said['started'][:4]}"
    with (
        pytest.raises(ValueError, match=message),
        run_folder.locked(tmp_path / "run"),
    ):
        pass
    assert (tmp_path / "run" / run_folder.HOLDER).exists()


def test_the_lock_of_a_killed_process_is_taken_over(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    deadline = time.monotonic() + 10
    while True:
        try:
            with run_folder.locked(tmp_path / "run"):
                assert json.loads((tmp_path / "run" / run_folder.HOLDER).read_text())["pid"] == os.getpid()
            break
        except ValueError:
            assert time.monotonic() < deadline


def test_a_folder_in_which_nothing_was_written_is_removed(tmp_path):
    with pytest.raises(ValueError, match="refused"), run_folder.locked(tmp_path / "new" / "run"):
        raise ValueError("refused")
    assert not (tmp_path / "new").exists()
    (tmp_path / "run").mkdir()
    with run_folder.locked(tmp_path / "run"):
        (tmp_path / "run" / "result").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["result"]


def started(folder, **options):
    """The settings of a run that has a checkpoint."""
    config = ClassifierRun(run=str(folder), **options)
    configs.write(config, folder)
    (folder / "checkpoints" / "1").mkdir(parents=True)
    return config


def test_a_started_run_is_not_resumed_with_other_settings_unless_asked(tmp_path):
    config = started(tmp_path)
    run_folder.check_same_training(config, fixed=("seed",))
    other = dataclasses.replace(config, optimizer=OptimizerConfig(peak=3e-3, final=0.01, weight_decay=0.02), size=64)
    with pytest.raises(
        ValueError, match=r"size 128, not 64; optimizer\.peak 0\.002, not 0\.003; .*--loop\.allow_changes"
    ):
        run_folder.check_same_training(other, fixed=("seed",))
    allowed = dataclasses.replace(other, loop=LoopConfig(allow_changes=True))
    run_folder.check_same_training(allowed, fixed=("seed",))
    with pytest.raises(ValueError, match="holds a training with seed 0, not 1; use another --run, or remove it"):
        run_folder.check_same_training(dataclasses.replace(allowed, seed=1), fixed=("seed",))


def test_more_steps_resume_a_run_and_are_reported(tmp_path, capsys):
    config = started(tmp_path)
    longer = dataclasses.replace(config, loop=LoopConfig(steps=2000, log_every=7), run=str(tmp_path))
    run_folder.check_same_training(longer, fixed=("seed",))
    assert "training for 2000 steps instead of 1000" in capsys.readouterr().err
