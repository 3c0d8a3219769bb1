"""All that is to be measured on one GPU, in minutes: stages in the order of their worth, each with a limit.

    benchmarks/gpu.sh OUT [--wheels FOLDER] [--rehearse] [--minutes 9] [--stages training editing]

Writes OUT/results.json after every measurement, OUT/tables.md after every stage, and OUT/log.txt. Each stage is a
process of its own: one that fails, or that needs more memory than there is, ends alone. A stage that is given by name
is measured anew, into the same results. `--rehearse` does all of it at toy size, on a CPU.
"""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tyro

from benchmarks.gpu import results
from benchmarks.gpu.stages import STAGES
from prism_jax import entrypoint

CHECKOUT = Path(__file__).parents[2]
GRACE = 5  # seconds between the end that a stage knows of, and its being ended


NEEDED = ("model", "peers", "compile")  # before any stage that is timed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    out: tyro.conf.Positional[Path]
    """Folder of the results; those that are there already stay."""
    stages: tuple[str, ...] = tuple(STAGES)
    """What to run. What a timed stage needs (model, peers, compile) runs before it."""
    minutes: float = 9.0
    """After which everything ends."""
    rehearse: bool = False
    """Toy size, on a CPU."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Running:
    """A stage that has been started."""

    name: str
    process: subprocess.Popen
    log: Path
    start: float  # by time.monotonic
    end: float  # when it is ended


def main(options: Options) -> int:
    """Runs the stages; 1 if one failed or was cut off in a rehearsal."""
    if unknown := set(options.stages) - set(STAGES):
        raise ValueError(f"stage {sorted(unknown)[0]!r} is unknown; use {', '.join(STAGES)}")
    deadline = time.monotonic() + 60 * options.minutes
    needed = NEEDED if any(STAGES[name].is_timed for name in options.stages) else ()
    chosen = [name for name in STAGES if name in (*options.stages, *needed)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    out, scratch = options.out.resolve(), Path(tempfile.mkdtemp(prefix="gpu-benchmark-"))
    dtype = "float32" if options.rehearse else "bfloat16"
    results.merge(out, {"options": dataclasses.asdict(options) | {"out": str(out), "dtype": dtype}})
    beside: list[Running] = []
    try:
        for name in chosen:
            if STAGES[name].is_timed:
                finish(out, beside)
            if deadline - time.monotonic() < STAGES[name].least:
                left = f"{deadline - time.monotonic():.0f} s were left, it needs {STAGES[name].least}"
                results.merge(out, {"stages": {name: {"status": "skipped", "reason": left}}})
                continue
            running = start(options, name, out, scratch, deadline)
            beside.append(running)
            if not STAGES[name].is_beside:
                finish(out, beside, running)
        finish(out, beside)
    finally:
        for running in beside:
            end(running, out)
        shutil.rmtree(scratch, ignore_errors=True)
        write_tables(out)
    found = results.read(out)["stages"]
    failed = [name for name in chosen if found[name]["status"] != "done"]
    print(f"{out / results.TABLES}: {len(chosen) - len(failed)} stages of {len(chosen)} done")
    return 1 if options.rehearse and failed else 0


def start(options: Options, name: str, out: Path, scratch: Path, deadline: float) -> Running:
    """Starts a stage in a process group of its own."""
    now = time.monotonic()
    finish_by = min(now + STAGES[name].seconds * (2 if options.rehearse else 1), deadline)
    command = [sys.executable, "-m", "benchmarks.gpu.stages", name, "--out", str(out), "--scratch", str(scratch)]
    command += ["--until", f"{finish_by - GRACE}", *(["--rehearse"] if options.rehearse else [])]
    command += ["--stages", *options.stages]
    environment = os.environ | ({} if STAGES[name].needs_gpu else {"JAX_PLATFORMS": "cpu"})
    file = scratch / f"{name}.log"
    with file.open("w") as log:
        options = dict(cwd=CHECKOUT, env=environment, stdout=log, stderr=log, start_new_session=True)
        process = subprocess.Popen(command, **options)
    return Running(name=name, process=process, log=file, start=now, end=finish_by)


def finish(out: Path, beside: list[Running], awaited: Running | None = None) -> None:
    """Waits for one stage, or for all; ends those whose time is over, and writes how each went."""
    while (awaited in beside) if awaited else beside:
        for running in list(beside):
            code, is_over = running.process.poll(), time.monotonic() > running.end
            if code is None and not is_over:
                continue
            said = end(running, out)
            beside.remove(running)
            status = "cut off" if code is None else "failed" if code else "done"
            row = {"status": status, "seconds": round(time.monotonic() - running.start, 1)}
            row["reason"] = {"cut off": "its time was over", "failed": f"exit code {code}: {said}"}.get(status, "")
            results.merge(out, {"stages": {running.name: row}})
            print(f"{running.name}: {status}, {row['seconds']} s", flush=True)
            write_tables(out)
        time.sleep(0.1)


def end(running: Running, out: Path) -> str:
    """Ends the stage with all that it has started, and keeps its log; returns the last line of it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()
    text = running.log.read_text(errors="replace").strip()
    with (out / results.LOG).open("a") as log:
        print(f"== {running.name}\n{text}", file=log)
    return text.rpartition("\n")[2]


def write_tables(out: Path) -> None:
    (out / results.TABLES).write_text(results.text(results.read(out)))


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(lambda: main(tyro.cli(Options, prog="benchmarks/gpu.sh"))))
