"""A training run that is killed again and again ends in the state of one that was left alone, bit for bit.

    python -m benchmarks.training_soak --out runs/soak --signal SIGKILL

Fine-tunes the shipped model on phantoms: once undisturbed, and once ended by the signal at random moments, after which
the same command resumes. Compares all arrays of the last checkpoints, and the metrics of all steps.
"""

import contextlib
import dataclasses
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

from prism_jax import config as configs
from prism_jax import entrypoint
from prism_jax.checkpoint import Checkpoints
from prism_jax.data.sources.build import build
from prism_jax.data.sources.phantom import PhantomConfig
from prism_jax.training.examples import Data
from prism_jax.training.finetune.run import FinetuneRun
from prism_jax.training.finetune.validation import FinetuneValidation, SampleGrid
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to run."""

    out: Path
    """New folder."""
    signal: Literal["SIGKILL", "SIGTERM"] = "SIGKILL"
    times: int = 10
    """How often the run is ended."""
    steps: int = 120
    checkpoint_every: int = 6
    model: Path = Path("prism_jax/pretrained/phantom")
    seed: int = 0
    """Of the moments at which it is ended."""


def main(options: Options) -> None:
    if options.out.exists():
        raise ValueError(f"{options.out} exists; choose a new folder")
    build("phantom", None, options.out / "data", PhantomConfig(train=64, val=0, test=0))
    finish(start(options, "alone"))
    draw, codes = random.Random(options.seed), []
    while len(codes) < options.times:
        codes.append(end(options, start(options, "ended"), draw))
    finish(start(options, "ended"))
    wanted = entrypoint.STOPPED if options.signal == "SIGTERM" else -signal.SIGKILL
    assert codes == [wanted] * options.times, codes
    print(
        f"{compare(options)} arrays and {options.steps} steps of metrics equal after {options.times} {options.signal}"
    )


def start(options: Options, name: str) -> subprocess.Popen:
    config = FinetuneRun(
        run=str(options.out / name),
        model=str(options.model),
        data=Data(folder=str(options.out / "data"), size=32),
        batch_size=4,
        optimizer=OptimizerConfig(warmup=5),
        loop=LoopConfig(steps=options.steps, log_every=1, checkpoint_every=options.checkpoint_every, tensorboard=False),
        validation=FinetuneValidation(every=0),
        samples=SampleGrid(every=0),
    )
    return launch(config, options.out / f"{name}-config", "train.finetune", log=options.out / f"{name}.log")


def launch(config: Any, folder: Path, module: str, *flags: str, log: Path) -> subprocess.Popen:
    """Starts the launcher `module` on `config`, which is written to `folder`."""
    configs.write(config, folder)
    command = [sys.executable, "-m", module, "--config", str(folder), *flags]
    return subprocess.Popen(command, stderr=log.open("a"))


def finish(process: subprocess.Popen) -> None:
    """Waits for the process. RuntimeError unless it succeeds."""
    if process.wait():
        raise RuntimeError(f"{' '.join(process.args)} ended with exit code {process.returncode}")


def end(options: Options, process: subprocess.Popen, draw: random.Random) -> int:
    """Ends the run a random while after it made a step: while it trains, saves, or both; returns its exit code."""
    resumed, times = max(checkpoints(options), default=0), resumptions(options)
    while (resumed and resumptions(options) == times) or steps_made(options) <= resumed:
        if process.poll() is not None:
            raise RuntimeError(f"the run ended by itself with exit code {process.returncode}; give it more steps")
        time.sleep(0.05)
    time.sleep(draw.uniform(0, 5))
    process.send_signal(signal.Signals[options.signal])
    process.wait()
    print(f"ended after step {steps_made(options)} with checkpoints {checkpoints(options)}", flush=True)
    return process.returncode


def checkpoints(options: Options) -> list[int]:
    names = [path.name for path in (options.out / "ended" / "checkpoints").glob("*")]
    return sorted(int(name) for name in names if name.isdigit())


def resumptions(options: Options) -> int:
    return (options.out / "ended.log").read_text().count("resuming at step")


def steps_made(options: Options) -> int:
    file = options.out / "ended" / "metrics.jsonl"
    return len(file.read_bytes().splitlines()) if file.exists() else 0


def compare(options: Options) -> int:
    """The number of arrays of the last states; AssertionError unless they are equal, and the metrics of all steps."""
    states, logs = [], []
    for name in ("alone", "ended"):
        with contextlib.closing(Checkpoints(options.out / name / "checkpoints")) as checkpoints:
            assert checkpoints.latest() == options.steps, checkpoints.latest()
            states.append(checkpoints.restore_raw(options.steps))
        lines = (options.out / name / "metrics.jsonl").read_text().splitlines()
        timed = ("steps_per_second", "images_per_second")
        logs.append([{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines])
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert logs[0] == logs[1]
    assert len(logs[0]) == options.steps
    return len(jax.tree.leaves(states[0]))


if __name__ == "__main__":
    main(tyro.cli(Options))
