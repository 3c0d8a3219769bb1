"""The pictures of a row on disk: of nothing to change, of every edit, and of the way back from it.

null/ID.png  edited/EDIT/ID.png  back/EDIT/ID.png  seconds.jsonl
made.json    written last: a row that has it is done, and is not made again
"""

import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from tqdm import tqdm

from prism_jax.data import transforms
from prism_jax.data.image_files import read_image
from prism_jax.data.schema import Attributes
from prism_jax.evaluation.benchmark.editors import Maker
from prism_jax.evaluation.benchmark.queries import Ask, back, firsts, null
from prism_jax.evaluation.counterfactuals.cohort import slug

Kind = Literal["null", "edited", "back"]
KINDS: tuple[Kind, ...] = ("null", "edited", "back")
DONE, SECONDS = "made.json", "seconds.jsonl"
EVERY = 0.02  # seconds between two looks at the memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """A finished row, or one seed of it."""

    folder: Path
    size: int  # of its pictures
    shown: Mapping[tuple[str, str], Attributes]  # by ask: what its counterfactual is to show
    seconds: float  # a counterfactual, median of the batches that did not compile; NaN where there is none
    memory: float  # bytes, the most that were held at once; NaN where it cannot be told

    def pictures(self, kind: Kind, asks: Sequence[Ask]) -> Iterator[np.ndarray]:
        """uint8 [size, size] of each ask, one at a time."""
        for ask in asks:
            yield read_image(self.folder, file_of(kind, ask))


def file_of(kind: Kind, ask: Ask) -> str:
    """Where a picture lies in the folder of its row."""
    return f"{kind}/{ask.subject.id}.png" if kind == "null" else f"{kind}/{slug(ask.edit)}/{ask.subject.id}.png"


def make(
    load: Callable[[], Maker],
    asks: Sequence[Ask],
    originals: Callable[[str, int], np.ndarray],
    folder: Path,
    *,
    settings: Mapping[str, Any],
    batch_size: int,
    name: str,
) -> Made:
    """Makes what is not there yet.

    Args:
      load: gives the maker; not called where all is done.
      originals: the picture of a subject's id at a size.
      settings: JSON of all that the pictures depend on.

    Raises:
      ValueError: the folder holds pictures of other settings.
    """
    started = folder / "settings.json"
    if started.is_file() and json.loads(started.read_text()) != settings:
        raise ValueError(f"{folder} holds pictures of another {name!r}; use another --run, or remove that folder")
    if (folder / DONE).is_file():
        return read(folder, asks)
    _write(started, settings)
    maker = load()
    shown = maker.shown(asks)
    forward = [dataclasses.replace(ask, wanted=found) for ask, found in zip(asks, shown, strict=True)]
    passes = {
        "null": [null(asks[i]) for i in firsts(asks)],
        "edited": forward,
        "back": [back(ask, found) for ask, found in zip(asks, shown, strict=True)],
    }
    total = sum(map(len, passes.values()))
    with Memory() as memory, tqdm(total=total, desc=name, unit="picture", mininterval=5) as bar:
        clock = _Clock(folder / SECONDS)
        for kind in KINDS:  # the way back starts from what the pass before it made
            _make_pass(maker, kind, passes[kind], originals, folder, batch_size, clock, bar)
    told = {"size": maker.size, "memory": memory.most, "shown": [dataclasses.asdict(found) for found in shown]}
    _write(folder / DONE, told)
    return read(folder, asks)


def read(folder: Path, asks: Sequence[Ask]) -> Made:
    """What `make` left."""
    told = json.loads((folder / DONE).read_text())
    lines = (folder / SECONDS).read_text().split() if (folder / SECONDS).is_file() else []
    shown = [Attributes(**found) for found in told["shown"]]
    return Made(
        folder=folder,
        size=told["size"],
        shown={ask.key: found for ask, found in zip(asks, shown, strict=True)},
        seconds=float(np.median([float(line) for line in lines])) if lines else float("nan"),
        memory=float("nan") if told["memory"] is None else told["memory"],
    )


def _make_pass(
    maker: Maker,
    kind: Kind,
    asks: Sequence[Ask],
    originals: Callable[[str, int], np.ndarray],
    folder: Path,
    batch_size: int,
    clock: "_Clock",
    bar: tqdm,
) -> None:
    for start in range(0, len(asks), batch_size):
        batch = asks[start : start + batch_size]
        files = [folder / file_of(kind, ask) for ask in batch]
        if not all(file.is_file() for file in files):
            given = [_given(kind, ask, originals, folder, maker.size) for ask in batch]
            more = batch_size - len(batch)  # one shape, one compiled program
            clock.start()
            pictures = maker.make(np.stack([*given, *[given[0]] * more]), [*batch, *[batch[0]] * more])
            clock.stop(batch_size)
            for file, picture in zip(files, pictures, strict=False):
                _write_bytes(file, transforms.encode_png(picture))
        bar.update(len(batch))


def _given(kind: Kind, ask: Ask, originals: Callable[[str, int], np.ndarray], folder: Path, size: int) -> np.ndarray:
    """The picture that is handed over: on the way back the counterfactual, as it was written."""
    return read_image(folder, file_of("edited", ask)) if kind == "back" else originals(ask.subject.id, size)


class _Clock:
    """Seconds a picture, a line a batch; a class because the first batch of a start compiles and is not counted."""

    def __init__(self, file: Path):
        self._file, self._begun, self._has_compiled = file, 0.0, False

    def start(self) -> None:
        self._begun = time.perf_counter()

    def stop(self, pictures: int) -> None:
        seconds = (time.perf_counter() - self._begun) / pictures
        if self._has_compiled:
            with self._file.open("a") as lines:
                lines.write(f"{seconds:.6g}\n")
        self._has_compiled = True


class Memory:
    """The most bytes held while it is entered: of the accelerator where it tells, else of the process.

    A class because a thread looks while others work. An accelerator tells its peak since the process began.
    """

    def __init__(self):
        self.most: int | None = None
        self._is_over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._watcher.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._is_over.set()
        self._watcher.join()
        stats = jax.local_devices()[0].memory_stats() or {}
        self.most = stats.get("peak_bytes_in_use", self.most)

    def _watch(self) -> None:
        statm = Path("/proc/self/statm")  # of Linux; elsewhere nothing is told
        while statm.is_file() and not self._is_over.wait(EVERY):
            held = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            self.most = max(self.most or 0, held)


def _write(file: Path, told: Any) -> None:
    _write_bytes(file, (json.dumps(told, indent=1) + "\n").encode())


def _write_bytes(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_bytes(data)
    os.replace(partial, file)
