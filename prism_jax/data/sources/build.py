"""Building a data set: everything is written beside the output folder first, then renamed in one step.

A build that is killed leaves its finished parts there and goes on from them when it is started again.
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
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prism_jax.data.sources.chexpert import ChexpertConfig
from prism_jax.data.sources.folder import FolderConfig
from prism_jax.data.sources.ingest import ERRORS_FILE, write_errors
from prism_jax.data.sources.mimic_cxr import MimicConfig
from prism_jax.data.sources.nih import NihConfig
from prism_jax.data.sources.phantom import PhantomConfig

BUILD_FILE = "build.json"
CONFIGS = {
    "chexpert": ChexpertConfig,
    "mimic_cxr": MimicConfig,
    "nih": NihConfig,
    "folder": FolderConfig,
    "phantom": PhantomConfig,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """What a build made; prints as one line."""

    folder: Path
    counts: dict[str, int]  # images per split
    errors: int  # rows without an image, listed in errors.csv

    def __str__(self) -> str:
        line = f"{self.folder}: " + ", ".join(f"{split} {count}" for split, count in self.counts.items())
        return line + (f"; {self.errors} left out, see {self.folder / ERRORS_FILE}" if self.errors else "")


def build(name: str, source: str | Path | None, out: str | Path, config: Any = None, **options) -> Built:
    """Builds the data set `name`, a key of CONFIGS, into the new folder `out`.

    `config` is what CONFIGS has for it, or `options` are its fields and those of its parts. `source` is the folder
    with table and images (None for the phantom). `out` gets the ArrayRecord files, `build.json` (name,
    configuration, digest) and `errors.csv` (row, path and reason of every image that could not be used). When
    anything fails, `out` is not made; parts that were finished stay beside it for the next try.
    """
    out = Path(out)
    if name not in CONFIGS:
        raise ValueError(f"no builder {name!r}; there are {', '.join(CONFIGS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} already exists; choose another folder or remove it")
    if name != "phantom" and source is None:
        raise ValueError(f"{name} needs a source: the folder that holds the table and the images")
    config = config or _filled(CONFIGS[name], options)
    with _work_folder(out) as work:
        return _write(name, source, config, work, out)


def read_build(folder: str | Path) -> tuple[str, Any]:
    """Name and configuration with which the data set in `folder` was built."""
    record = _record(folder)
    try:
        return record["name"], _restored(CONFIGS[record["name"]], record["config"])
    except (TypeError, KeyError) as error:
        raise ValueError(f"{folder} was built by another version ({error}); build it again") from None


def digest(folder: str | Path) -> str:
    """What tells the content of the data set in `folder` from that of others, 32 hex digits, made at build time.

    Raises:
      ValueError: no data set, or one that was built before there were digests.
    """
    record = _record(folder)
    if "digest" not in record:
        raise ValueError(f"{Path(folder) / BUILD_FILE} has no digest: it was built by an older version; build it again")
    return record["digest"]


def _record(folder: str | Path) -> dict:
    file = Path(folder) / BUILD_FILE
    if not file.is_file():
        raise ValueError(f"no {file}; make the data set with: prism data build NAME --out {folder}")
    return json.loads(file.read_text())


def _filled(kind: type, options: dict[str, Any]) -> Any:
    """The configuration of class `kind` with these fields, of its own or of the configurations in it."""
    left, fields = dict(options), {}
    for field in dataclasses.fields(kind):
        default = field.default
        if dataclasses.is_dataclass(default):
            inner = {name: left.pop(name) for name in [f.name for f in dataclasses.fields(default)] if name in left}
            fields[field.name] = left.pop(field.name, dataclasses.replace(default, **inner))
        elif field.name in left:
            fields[field.name] = left.pop(field.name)
    if left:
        known = ", ".join(field.name for field in dataclasses.fields(kind))
        raise ValueError(f"unknown option {', '.join(sorted(left))}; {kind.__name__} has {known}")
    return kind(**fields)


def _restored(kind: type, record: dict[str, Any]) -> Any:
    """The configuration of class `kind` from its JSON."""
    types = typing.get_type_hints(kind)
    fields = {}
    for name, value in record.items():
        if isinstance(value, dict):
            value = _restored(types[name], value)
        fields[name] = tuple(value) if isinstance(value, list) else value
    return kind(**fields)


@contextlib.contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that only this process uses. It stays behind only with finished parts in it."""
    work = out.parent / f".{out.name}-building"
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the process ends, however it does
        except OSError:
            raise ValueError(f"another process is building {out}; wait for it, or choose another folder") from None
        try:
            yield work
        finally:
            if out.is_dir() or not any(work.glob(".*-parts/*.json")):
                shutil.rmtree(work, ignore_errors=True)


def _write(name: str, source: str | Path | None, config: Any, work: Path, out: Path) -> Built:
    builder = _builder(name, source, config, work)
    shutil.rmtree(Path(builder.data_dir).parent, ignore_errors=True)  # of a build that was killed
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download that is none
        builder.download_and_prepare()
    made = Path(builder.data_dir)
    record = {
        "name": name,
        "source": str(source or ""),
        "config": dataclasses.asdict(config),
        "digest": _digest(made),
    }
    write_errors(made / ERRORS_FILE, builder.errors)
    (made / BUILD_FILE).write_text(json.dumps(record, indent=2) + "\n")
    os.rename(made, out)
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    return Built(folder=out, counts=counts, errors=len(builder.errors))


def _builder(name: str, source: str | Path | None, config: Any, work: Path) -> Any:
    from prism_jax.data.sources import (
        tfds_builders as builders,
    )  # imports TFDS, which readers of this module need not pay for

    builders.tfds.disable_progress_bar()  # ours knows the total
    kinds = {
        "chexpert": builders.PrismChexpert,
        "mimic_cxr": builders.PrismMimicCxr,
        "nih": builders.PrismNih,
        "folder": builders.PrismFolder,
    }
    if name == "phantom":
        return builders.PrismPhantom(options=config, data_dir=str(work))
    return kinds[name](source=source, options=config, data_dir=str(work))


def _digest(made: Path) -> str:
    """blake2b over the names and contents of the files of records, in the order of their names."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(made.glob("*.array_record-*")):
        digest.update(file.name.encode() + b"\0")
        with open(file, "rb") as content:
            digest.update(hashlib.file_digest(content, "blake2b").digest())
    return digest.hexdigest()
