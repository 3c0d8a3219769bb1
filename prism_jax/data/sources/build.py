"""Building a data set: everything is written beside the output folder first, then renamed in one step.

An interrupted build leaves its finished shards there and resumes from them when it is started again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prism_jax import json_codec
from prism_jax.data import built_folder
from prism_jax.data.sources.chexpert import ChexpertConfig
from prism_jax.data.sources.folder import FolderConfig
from prism_jax.data.sources.ingest import ERRORS_FILE, write_errors
from prism_jax.data.sources.mimic_cxr import MimicConfig
from prism_jax.data.sources.nih import NihConfig
from prism_jax.data.sources.phantom import PhantomConfig

BUILD_FILE = "build.json"
RENAMED = {"intake": "ingest"}  # fields in the build.json of older versions
CONFIGS = {
    "chexpert": ChexpertConfig,
    "mimic_cxr": MimicConfig,
    "nih": NihConfig,
    "folder": FolderConfig,
    "phantom": PhantomConfig,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """Result of a build; prints as one line."""

    folder: Path
    counts: dict[str, int]  # images per split
    errors: int  # rows without an image, listed in errors.csv

    def __str__(self) -> str:
        line = f"{self.folder}: " + ", ".join(f"{split} {count}" for split, count in self.counts.items())
        return line + (f"; {self.errors} left out, see {self.folder / ERRORS_FILE}" if self.errors else "")


def build(name: str, source: str | Path | None, out: str | Path, config: Any = None) -> Built:
    """Builds the data set `name`, a key of CONFIGS, into the new folder `out`.

    `config` is an instance of the class in CONFIGS, None for its defaults. `source` is the folder with table and images
    (None for the phantom). `out` gets the ArrayRecord files, `build.json` (name, configuration, digest) and
    `errors.csv` (row, path and reason of every unusable image). If anything fails, `out` is not created; finished
    shards stay beside it for the next attempt.
    """
    out = Path(out)
    if name not in CONFIGS:
        raise ValueError(f"no builder {name!r}; there are {', '.join(CONFIGS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} already exists; choose another folder or remove it")
    if name != "phantom" and source is None:
        raise ValueError(f"{name} needs a source: the folder that holds the table and the images")
    with _work_folder(out) as work:
        return _write(name, source, config or CONFIGS[name](), work, out)


def read_build(folder: str | Path) -> tuple[str, Any]:
    """Name and configuration with which the data set in `folder` was built."""
    record = _record(folder)
    try:
        fields = {RENAMED.get(name, name): value for name, value in record["config"].items()}
        return record["name"], json_codec.decode(CONFIGS[record["name"]], fields, is_complete=False)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{folder} was built by another version ({error}); build it again") from None


def digest(folder: str | Path) -> str:
    """Digest of the records of the data set in `folder`, 32 hex digits, computed at build time.

    Raises:
      ValueError: no data set, or one of an older version without a digest.
    """
    record = _record(folder)
    if "digest" not in record:
        raise ValueError(f"{Path(folder) / BUILD_FILE} has no digest: it was built by an older version; build it again")
    return record["digest"]


def _record(folder: str | Path) -> dict:
    file = Path(folder) / BUILD_FILE
    if not file.is_file():
        built_folder.check(folder)
        raise ValueError(f"{folder} has no {BUILD_FILE}: it was not made by prism data build; build it again")
    return json.loads(file.read_text())


@contextlib.contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that only this process uses. It is kept only if it holds finished shards."""
    work = out.parent / f".{out.name}-building"
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the process ends, also after a crash
        except OSError:
            raise ValueError(f"another process is building {out}; wait for it, or choose another folder") from None
        try:
            yield work
        finally:
            if out.is_dir() or not any(work.glob(".*-shards/*.json")):
                shutil.rmtree(work, ignore_errors=True)


def _write(name: str, source: str | Path | None, config: Any, work: Path, out: Path) -> Built:
    from prism_jax.data.sources import tfds_builders  # imports TFDS, which readers of this module need not pay for

    tfds_builders.tfds.disable_progress_bar()  # our own progress bar knows the total
    builder = tfds_builders.BUILDERS[name](source=source, options=config, data_dir=str(work))
    shutil.rmtree(Path(builder.data_dir).parent, ignore_errors=True)  # of a build that was killed
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download although there is none
        builder.download_and_prepare()
    folder = Path(builder.data_dir)
    record = {
        "name": name,
        "source": str(source or ""),
        "config": dataclasses.asdict(config),
        "digest": _digest(folder),
    }
    write_errors(folder / ERRORS_FILE, builder.errors)
    (folder / BUILD_FILE).write_text(json.dumps(record, indent=2) + "\n")
    os.rename(folder, out)
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    return Built(folder=out, counts=counts, errors=len(builder.errors))


def _digest(folder: Path) -> str:
    """blake2b over the names and contents of the files of records, in the order of their names."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(folder.glob("*.array_record-*")):
        digest.update(file.name.encode() + b"\0")
        with open(file, "rb") as content:
            digest.update(hashlib.file_digest(content, "blake2b").digest())
    return digest.hexdigest()
