"""A data set written in shards, so that an interrupted build resumes.

Each shard is an ArrayRecord file of at most SHARD_ROWS rows of one split, with a JSON file beside it that is written
last: the digest of its rows and configuration, its number of examples, and the rows without an example, with the
reason.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tqdm import tqdm

from prism_jax.data import schema
from prism_jax.data.sources.ingest import ERRORS_FILE, Error, Row, write_errors

SHARD_ROWS = 512

Read = Callable[[Sequence[Row]], Iterable[schema.Example | str]]  # the example of each row, or why there is none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """One finished file of records."""

    file: Path
    split: str
    digest: str  # of configuration and rows
    count: int  # examples
    errors: tuple[Error, ...]


def write_shards(rows: Sequence[Row], read: Read, folder: Path, *, origin: str, max_bad: float) -> list[Shard]:
    """Writes the shards of all `rows` into `folder`; finished shards of the same rows and `origin` are kept.

    Raises:
      ValueError: more than `max_bad` of the rows cannot be read, or none can; `errors.csv` in `folder` then lists
        those found so far, and finished shards are kept for the next attempt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[Shard] = []
    with tqdm(total=len(rows), unit="image", mininterval=1) as bar:
        for name, split, chunk in _chunks(rows):
            digest = _digest([origin, *map(repr, chunk)])
            shard = _finished(folder, name, chunk, digest, read) or _write(folder, name, split, chunk, digest, read)
            shards.append(shard)
            bar.update(len(chunk))
            _check(shards, len(rows), folder, max_bad)
    if not any(shard.count for shard in shards):
        raise ValueError(f"none of the {len(rows)} images can be used; {_first(shards)}")
    return shards


def errors_of(shards: Iterable[Shard]) -> list[Error]:
    """The rows without an example, in the order of the table."""
    return sorted(error for shard in shards for error in shard.errors)


def _chunks(rows: Sequence[Row]) -> Iterator[tuple[str, str, Sequence[Row]]]:
    """(name, split, rows) of every shard, in the order of storage."""
    for split in schema.SPLITS:
        chosen = [row for row in rows if row.split == split]
        for start in range(0, len(chosen), SHARD_ROWS):
            yield f"{split}-{start // SHARD_ROWS:05}", split, chosen[start : start + SHARD_ROWS]


def _finished(folder: Path, name: str, rows: Sequence[Row], digest: str, read: Read) -> Shard | None:
    """The finished shard of the same rows and configuration; None if a row that failed before can be read now."""
    note, file = folder / f"{name}.json", folder / f"{name}.array_record"
    if not (note.is_file() and file.is_file()):
        return None
    record = json.loads(note.read_text())
    if record.get("digest") != digest:
        return None
    lacking = {(line, path) for line, path, _ in record["errors"]}
    again = read([row for row in rows if (row.line, row.path) in lacking])
    if not all(isinstance(example, str) for example in again):
        return None
    return Shard(**record | {"file": file, "errors": tuple(map(tuple, record["errors"]))})


def _write(folder: Path, name: str, split: str, rows: Sequence[Row], digest: str, read: Read) -> Shard:
    features = schema.features()
    serializer = tfds.core.example_serializer.ExampleSerializer(features.get_serialized_info())
    file, note, unfinished = (folder / f"{name}{end}" for end in (".array_record", ".json", ".unfinished"))
    note.unlink(missing_ok=True)
    writer, count, errors = ArrayRecordWriter(os.fspath(unfinished), "group_size:1"), 0, []
    for row, example in zip(rows, read(rows), strict=True):
        if isinstance(example, str):
            errors.append((row.line, row.path, example))
            continue
        record = serializer.get_tf_example(features.encode_example(schema.to_record(example)))
        writer.write(record.SerializeToString(deterministic=True))  # the same build has the same digest
        count += 1
    writer.close()
    os.replace(unfinished, file)
    shard = Shard(file=file, split=split, digest=digest, count=count, errors=tuple(errors))
    unfinished.write_text(json.dumps(dataclasses.asdict(shard) | {"file": file.name}))
    os.replace(unfinished, note)
    return shard


def _check(shards: Sequence[Shard], total: int, folder: Path, max_bad: float) -> None:
    errors = errors_of(shards)
    if len(errors) > max_bad * total:
        write_errors(folder / ERRORS_FILE, errors)
        raise ValueError(
            f"{len(errors)} of {total} images cannot be used, more than max_bad {max_bad:g}; {_first(shards)}; "
            f"see {folder / ERRORS_FILE}, fix them or raise max_bad"
        )


def _first(shards: Sequence[Shard]) -> str:
    _, path, reason = errors_of(shards)[0]
    return f"the first, {path}, {reason}"


def _digest(texts: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        digest.update(text.encode("utf-8", "backslashreplace") + b"\0")
    return digest.hexdigest()
