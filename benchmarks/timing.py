"""Timing of programs in turn, ours and the PyTorch peer's."""

import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from benchmarks.tables import Row
from prism_jax.report.versions import versions

OURS = "prism_jax"
FAILURES = (RuntimeError, MemoryError, OSError)  # XLA's and the peer's lack of memory, or its end


def say(line: str) -> None:
    """Prints progress to stderr."""
    print(line, file=sys.stderr, flush=True)


def alternated(
    runs: Mapping[str, Callable[[], tuple[float, ...]]],
    repeats: int,
    *,
    firsts: Mapping[str, Callable[[], Any]] | None = None,
    until: float = math.inf,
    **facts: Any,
) -> Iterator[Row]:
    """One row per program, from repeats in turn after a first call of each; those that fail are left out.

    A run returns the seconds of each of its parts. `facts` are the remaining fields of the rows. `firsts` are shorter
    first calls, which compile the same programs. After the first repeat, none is begun that would end after `until`
    (by `time.monotonic`), nor is a first call begun after it.
    """
    label, first = ", ".join(f"{name} {value}" for name, value in facts.items()), {}
    for name, run in runs.items():
        if first and time.monotonic() > until:
            say(f"{label}, {name}: no time left")
            continue
        start = time.perf_counter()
        try:
            (firsts or runs).get(name, run)()
        except FAILURES as error:
            say(f"{label}, {name}: {str(error).splitlines()[0]}")
            continue
        first[name] = time.perf_counter() - start
    calls, last = {name: [] for name in first}, 0.0
    for i in range(repeats):
        start = time.monotonic()
        if i and start + last > until:
            break
        for name in list(calls):
            try:
                calls[name].append(runs[name]())
            except FAILURES as error:
                say(f"{label}, {name}: {str(error).splitlines()[0]}")
                del calls[name]
        last = time.monotonic() - start
    for name, times in calls.items():
        row = Row(program=name, first=first[name], calls=tuple(times), **facts)
        say(f"{label}, {name}: {sum(row.per_image):.4g} s/image, first call {row.first:.1f} s")
        yield row


def check_agreement(differences: Mapping[str, float], bounds: Mapping[str, float], dtype: str) -> None:
    """Prints the peer's relative differences from ours. ValueError where they exceed the bounds in float32."""
    jax.clear_caches()  # else the first call that is timed would find its program compiled
    for name, value in differences.items():
        say(f"peer, {name}: {value:.2g} apart (bound in float32 {bounds[name]:g})")
    far = [name for name, value in differences.items() if not value <= bounds[name]]
    if far and dtype == "float32":
        raise ValueError(f"the peer computes something else: {', '.join(far)}")


def write(file: Path, options: Any, rows: list[Row], **facts: Any) -> None:
    """Writes everything measured, as JSON."""
    written = {
        "options": dataclasses.asdict(options) | {"out": str(file)},
        "versions": versions(),
        "rows": [dataclasses.asdict(row) for row in rows],
        **facts,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(written, indent=2) + "\n")
