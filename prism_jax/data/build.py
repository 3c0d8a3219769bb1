"""Building a data set: everything is written beside the output folder first, then renamed in one step."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

from prism_jax.data.folder import FolderConfig
from prism_jax.data.phantom_dataset import PhantomConfig

BUILD_FILE, SKIPPED_FILE = "build.json", "skipped.csv"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """What a build made; prints as one line."""

    folder: Path
    counts: dict[str, int]  # images per split
    skipped: int  # images left out, listed in skipped.csv

    def __str__(self) -> str:
        line = f"{self.folder}: " + ", ".join(f"{split} {count}" for split, count in self.counts.items())
        return line + (f"; {self.skipped} skipped, see {self.folder / SKIPPED_FILE}" if self.skipped else "")


def build(name: str, source: str | Path | None, out: str | Path, **config) -> Built:
    """Builds the data set `name` ("folder" or "phantom") into the new folder `out`.

    `config` holds fields of FolderConfig or PhantomConfig; `source` is the folder with the CSV (None for the
    phantom). `out` gets the ArrayRecord files, `build.json` (name and configuration) and `skipped.csv` (row,
    path and reason of every image that could not be used). When anything fails, `out` is not made.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} already exists; choose another folder or remove it")
    if name == "folder":
        if source is None:
            raise ValueError("folder needs a source: the folder that holds the CSV and the images")
        options = _options(FolderConfig, config)
    elif name == "phantom":
        options = _options(PhantomConfig, config)
    else:
        raise ValueError(f"no builder {name!r}; there are folder, phantom")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        return _write(name, source, options, work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def read_build(folder: str | Path) -> tuple[str, FolderConfig | PhantomConfig]:
    """Name and configuration with which the data set in `folder` was built."""
    file = Path(folder) / BUILD_FILE
    if not file.is_file():
        raise ValueError(f"no {file}; make the data set with: prism data build NAME --out {folder}")
    record = json.loads(file.read_text())
    fields = {key: tuple(v) if isinstance(v, list) else v for key, v in record["config"].items()}
    return record["name"], {"folder": FolderConfig, "phantom": PhantomConfig}[record["name"]](**fields)


def digest(folder: str | Path) -> str:
    """The hash of the data set's records, taken when it was built; ValueError for one built before there was any."""
    file = Path(folder) / BUILD_FILE
    found = json.loads(file.read_text()).get("digest") if file.is_file() else None
    if found is None:
        raise ValueError(f"{file} holds no digest of the data set; build it again with: prism data build")
    return found


def _digest(folder: Path) -> str:
    whole = hashlib.blake2b(digest_size=20)
    for file in sorted(folder.glob("*.array_record*")):
        whole.update(file.name.encode())
        with file.open("rb") as content:
            whole.update(hashlib.file_digest(content, "blake2b").digest())
    return whole.hexdigest()


def _options(kind: type, config: dict) -> FolderConfig | PhantomConfig:
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise ValueError(f"unknown option {', '.join(unknown)}; {kind.__name__} has {', '.join(known)}")
    return kind(**config)


def _write(name: str, source, options, work: Path, out: Path) -> Built:
    from prism_jax.data import builders  # imports TFDS, which readers of this module need not pay for

    if name == "folder":
        builder = builders.PrismFolder(source=source, options=options, data_dir=str(work))
    else:
        builder = builders.PrismPhantom(options=options, data_dir=str(work))
    builders.tfds.disable_progress_bar()  # ours knows the total
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download that is none
        builder.download_and_prepare()
    made = Path(builder.data_dir)
    skipped = sorted((row.number, row.path, reason) for row, reason in builder.skipped)
    with open(made / SKIPPED_FILE, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("row", "path", "reason"))
        rows.writerows((number + 2, path, reason) for number, path, reason in skipped)
    record = {"name": name, "source": str(source or ""), "config": dataclasses.asdict(options)}
    record["digest"] = _digest(made)
    (made / BUILD_FILE).write_text(json.dumps(record, indent=2) + "\n")
    os.rename(made, out)
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    return Built(folder=out, counts=counts, skipped=len(skipped))
