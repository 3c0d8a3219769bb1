"""How many steps a run has left, for scripts that start it again: `python -m launch.steps_left runs/NAME`.

A program that a signal stopped ends with exit code 0, as one that has finished does; this tells the two apart.
"""

import contextlib
import sys
from pathlib import Path

from prism_jax import entrypoint
from prism_jax.checkpoint import Checkpoints
from prism_jax.weights.pretrained import read_json


def steps_left(run: Path) -> int:
    """Steps from the newest whole checkpoint of `run` to the end. ValueError where it is not a training run."""
    settings = read_json(run / "config.json")
    if "loop" not in settings:
        raise ValueError(f"{run} is not a training run: its config.json names no loop.steps")
    folder, done = run / "checkpoints", 0
    if folder.is_dir():
        with contextlib.closing(Checkpoints(folder, is_reader=True)) as checkpoints:
            done = checkpoints.latest() or 0
    return max(0, settings["loop"]["steps"] - done)


def main() -> None:
    if len(sys.argv) != 2:
        raise ValueError("give the run's folder: python -m launch.steps_left runs/NAME")
    print(steps_left(Path(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(main))
