"""One measurement of one program that reads images, in a process of its own; see data.py.

Both do the same to the same JPEG files, and by the same functions: decode, fit into the frame, scale to [-1, 1], three
channels (last), batches. Ours reads them from a built data set, PyTorch one file an image.
"""

import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import tyro

from prism_jax.data import transforms


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """What to measure."""

    program: Literal["prism_jax", "torch", "synthetic"]
    folder: Path
    """Holds `built`, a data set, and `files`, its JPEG files. "synthetic" reads neither and generates its images."""
    size: int = 512
    batch_size: int = 16
    workers: int = 0
    threads: int = 2
    """Of prism_jax; PyTorch's processes have one."""
    warm_up: int = 8
    batches: int = 60


def main(side: Side) -> None:
    """Prints images per second, and CPU milliseconds per image of the process and its workers, as JSON."""
    stream = _torch(side) if side.program == "torch" else _prism_jax(side)
    for _ in range(side.warm_up):
        next(stream)
    start, busy = time.perf_counter(), _cpu_seconds()
    total = sum(len(next(stream)) for _ in range(side.batches))
    seconds, busy = time.perf_counter() - start, _cpu_seconds() - busy
    print(json.dumps({"per_second": total / seconds, "cpu_ms": 1e3 * busy / total}), flush=True)
    stream.close()


def _prism_jax(side: Side) -> Iterator[np.ndarray]:
    from prism_jax.data.loading import fake_data, pipeline

    is_built = side.program == "prism_jax"
    source = (
        pipeline.open_split(side.folder / "built", "train") if is_built else fake_data.fake_examples(4096, side.size)
    )
    stream = pipeline.batches(
        source,
        side.batch_size,
        size=side.size,
        shuffle=True,
        epochs=None,
        drop_remainder=True,
        threads=side.threads,
        num_workers=side.workers,
    )
    try:
        for batch in stream:
            yield batch["image"]
    finally:
        stream.close()


def _torch(side: Side) -> Iterator[Any]:
    from torch.utils.data import DataLoader

    files = Files(sorted(map(str, (side.folder / "files").glob("*.jpg"))), side.size)
    options = {"persistent_workers": True, "prefetch_factor": 2} if side.workers else {}
    loader = DataLoader(files, side.batch_size, shuffle=True, drop_last=True, num_workers=side.workers, **options)
    for batch in itertools.chain.from_iterable(itertools.repeat(loader)):
        yield batch["image"]


@dataclasses.dataclass(frozen=True)
class Files:
    """What PyTorch calls a data set."""

    paths: list[str]
    size: int

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = transforms.to_input(transforms.decode(Path(self.paths[index]).read_bytes()), self.size)
        return {"image": image, "id": index}


def _cpu_seconds() -> float:
    """CPU time of this process and those it started, so far."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(time.user + time.system for time in times)


if __name__ == "__main__":
    main(tyro.cli(Side, args=sys.argv[1:]))
