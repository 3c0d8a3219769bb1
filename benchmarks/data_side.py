"""One measurement of one program that reads images, in a process of its own; see data.py.

Both do the same to the same JPEG files, and by the same functions: decode, fit into the frame, scale to [-1, 1], three
channels (last), batches. Ours reads them from a built data set, PyTorch one file an image.
"""

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil

from prism_jax.data import transforms


def main(side: SimpleNamespace) -> None:
    """Prints images per second, and CPU milliseconds per image of the process and its workers, as JSON."""
    stream = _torch(side) if side.program == "torch" else _prism_jax(side)
    for _ in range(side.warm_up):
        next(stream)
    start, busy = time.perf_counter(), _cpu_seconds()
    total = sum(len(next(stream)) for _ in range(side.batches))
    seconds, busy = time.perf_counter() - start, _cpu_seconds() - busy
    print(json.dumps({"per_second": total / seconds, "cpu_ms": 1e3 * busy / total}), flush=True)
    stream.close()


def _prism_jax(side: SimpleNamespace) -> Iterator[np.ndarray]:
    from prism_jax.data.loading import pipeline

    source = pipeline.open_split(Path(side.folder) / "built", "train")
    options = dict(size=side.size, seed=0, threads=side.threads, num_workers=side.workers)
    with contextlib.closing(pipeline.batches(source, side.batch_size, **options)) as stream:
        for batch in stream:
            yield batch["image"]


def _torch(side: SimpleNamespace) -> Iterator[Any]:
    from torch.utils.data import DataLoader

    files = Files(sorted(map(str, (Path(side.folder) / "files").glob("*.jpg"))), side.size)
    options = {"persistent_workers": True, "prefetch_factor": 2} if side.workers else {}
    loader = DataLoader(files, side.batch_size, shuffle=True, drop_last=True, num_workers=side.workers, **options)
    for batch in itertools.chain.from_iterable(itertools.repeat(loader)):
        yield batch["image"]


class Files:
    """A data set as PyTorch defines it: one JPEG file an example."""

    def __init__(self, paths: list[str], size: int):
        self.paths, self.size = paths, size

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
    main(SimpleNamespace(**json.loads(sys.argv[1])))
