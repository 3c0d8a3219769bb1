"""A cohort that is killed twice, with a damaged image in the middle, ends as one that was left alone.

    python -m benchmarks.cohort_soak --out runs/soak

Renders phantoms, writes them as JPEG files with a CSV of captions, damages one, and makes four edits of each: once
undisturbed, once killed (SIGKILL) twice at random moments, and once by two processes. Prints what it compared.
"""

import dataclasses
import random
import subprocess
import time
from pathlib import Path

import numpy as np
import tyro

from benchmarks import subjects
from benchmarks.training_soak import finish, launch
from prism_jax.evaluation.counterfactuals.manifest import IMAGES, Manifest
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun, Inversion
from prism_jax.evaluation.edits import EditSpec

AGES = (8, 12, 96, 104)  # years that no phantom has, so that each edit applies to all


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to run."""

    out: Path
    """New folder."""
    model: Path = Path("prism_jax/pretrained/phantom")
    subjects: int = 200
    steps: int = 4
    batch_size: int = 8
    seed: int = 0
    """Of the moments at which runs are killed."""


def main(options: Options) -> None:
    if options.out.exists():
        raise ValueError(f"{options.out} exists; choose a new folder")
    damaged = options.subjects // 2
    subjects.write_images(options.out / "images", options.subjects, size=128, damaged=damaged)
    alone, seconds = start(options, "alone"), time.perf_counter()
    finish(alone)
    seconds = time.perf_counter() - seconds
    draw = random.Random(options.seed)
    for _ in range(2):
        kill(options, start(options, "killed"), draw.uniform(0.2, 0.6) * seconds)
    finish(start(options, "killed"))
    both = [start(options, "shared", index=index, count=2) for index in range(2)]
    for process in both:
        finish(process)
    print(f"undisturbed: {options.subjects / seconds:.2f} images/s, starting and compiling included")
    for name in ("alone", "killed", "shared"):
        check(options, name, str(damaged))


def start(options: Options, name: str, *, index: int = 0, count: int = 1) -> subprocess.Popen:
    config = CounterfactualRun(
        run=str(options.out / name),
        model=str(options.model),
        data=str(options.out / "images" / "images.csv"),
        edits=tuple(EditSpec(edit=f"set age {age}", blend=None) for age in AGES),
        inversion=Inversion(method="direct", steps=options.steps, guidance=2.0),
        batch_size=options.batch_size,
    )
    processes = ("--processes.index", str(index), "--processes.count", str(count))
    log = options.out / f"{name}.log"
    return launch(config, options.out / f"{name}-config", "eval.counterfactuals", *processes, log=log)


def kill(options: Options, process: subprocess.Popen, seconds: float) -> None:
    time.sleep(seconds)
    process.kill()
    process.wait()
    parts = len(list((options.out / "killed" / "parts").glob("*.parquet")))
    print(f"killed after {seconds:.0f} s with {parts} batches done")


def check(options: Options, name: str, damaged: str) -> None:
    """Raises AssertionError unless the run has every row once, and the failures and images of the undisturbed run."""
    manifest, reference = Manifest(options.out / name), Manifest(options.out / "alone")
    rows = manifest.rows()
    assert len({(row["id"], row["edit"]) for row in rows}) == len(rows) == options.subjects * len(AGES)
    failed = [row for row in rows if row["status"] == "failed"]
    assert [row["id"] for row in failed] == [damaged] * len(AGES), failed
    compared = 0
    for row, other in zip(rows, reference.rows(), strict=True):
        for picture in IMAGES:
            if row["status"] == "done":
                np.testing.assert_array_equal(manifest.image(row[picture]), reference.image(other[picture]))
                compared += 1
    leftovers = list(manifest.run.rglob("*.partial"))
    assert not leftovers, leftovers
    print(
        f"{name}: {len(rows)} rows, {len(failed)} failures recorded ({failed[0]['error']}), {compared} pictures equal"
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
