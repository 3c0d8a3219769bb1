"""A data set written in parts, so that a build that was killed goes on where it was.

Each part is an ArrayRecord file of at most PART_ROWS rows of one split, with a JSON file beside it that is written
last: what it was made from, how many examples it holds, which rows are missing in it and why.
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

PART_ROWS = 512

Read = Callable[[Sequence[Row]], Iterable[schema.Example | str]]  # the example of each row, or why there is none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One finished file of records."""

    file: Path
    split: str
    made_from: str  # digest of configuration and rows
    count: int  # examples
    errors: tuple[Error, ...]


def prepare(rows: Sequence[Row], read: Read, folder: Path, *, made_from: str, max_bad: float) -> list[Part]:
    """Writes the parts of all `rows` into `folder`, or takes those that are there and were made from the same.

    Raises:
      ValueError: more than `max_bad` of the rows cannot be read, or none can; `errors.csv` in `folder` then lists
        those found so far, and what was read stays for the next try.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Part] = []
    with tqdm(total=len(rows), unit="image", mininterval=1) as bar:
        for name, split, chunk in _chunks(rows):
            key = _digest([made_from, *map(repr, chunk)])
            part = _kept(folder, name, chunk, key, read) or _write(folder, name, split, chunk, key, read)
            made.append(part)
            bar.update(len(chunk))
            _check(made, len(rows), folder, max_bad)
    if not any(part.count for part in made):
        raise ValueError(f"none of the {len(rows)} images can be used; {_first(made)}")
    return made


def errors_of(parts: Iterable[Part]) -> list[Error]:
    """The rows that are missing in `parts`, in the order of the table."""
    return sorted(error for part in parts for error in part.errors)


def _chunks(rows: Sequence[Row]) -> Iterator[tuple[str, str, Sequence[Row]]]:
    """(name, split, rows) of every part, in the order in which they are stored."""
    for split in schema.SPLITS:
        chosen = [row for row in rows if row.split == split]
        for start in range(0, len(chosen), PART_ROWS):
            yield f"{split}-{start // PART_ROWS:05}", split, chosen[start : start + PART_ROWS]


def _kept(folder: Path, name: str, rows: Sequence[Row], made_from: str, read: Read) -> Part | None:
    """The finished part, if there is one of the same rows and configuration, and what it lacks still cannot be read."""
    note, file = folder / f"{name}.json", folder / f"{name}.array_record"
    if not (note.is_file() and file.is_file()):
        return None
    record = json.loads(note.read_text())
    if record["made_from"] != made_from:
        return None
    lacking = {(line, path) for line, path, _ in record["errors"]}
    again = read([row for row in rows if (row.line, row.path) in lacking])
    if not all(isinstance(example, str) for example in again):
        return None
    return Part(**record | {"file": file, "errors": tuple(map(tuple, record["errors"]))})


def _write(folder: Path, name: str, split: str, rows: Sequence[Row], made_from: str, read: Read) -> Part:
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
    part = Part(file=file, split=split, made_from=made_from, count=count, errors=tuple(errors))
    unfinished.write_text(json.dumps(dataclasses.asdict(part) | {"file": file.name}))
    os.replace(unfinished, note)
    return part


def _check(made: Sequence[Part], total: int, folder: Path, max_bad: float) -> None:
    errors = errors_of(made)
    if len(errors) > max_bad * total:
        write_errors(folder / ERRORS_FILE, errors)
        raise ValueError(
            f"{len(errors)} of {total} images cannot be used, more than max_bad {max_bad:g}; {_first(made)}; "
            f"see {folder / ERRORS_FILE}, mend them or raise max_bad"
        )


def _first(made: Sequence[Part]) -> str:
    _, path, reason = errors_of(made)[0]
    return f"the first, {path}, {reason}"


def _digest(texts: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        digest.update(text.encode("utf-8", "backslashreplace") + b"\0")
    return digest.hexdigest()
