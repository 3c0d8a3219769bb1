"""Atomic writes: a file or folder has its full content or does not exist."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(file: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `file`, which is renamed to `file` when the block ends and removed if it fails.

    Makes the folder. Processes that write the same file do not disturb each other: the last one wins.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{os.getpid()}.{file.name}")  # keeps the suffix: some writers choose the format by it
    try:
        yield partial
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder, which is renamed to `folder` when the block ends and removed if it fails.

    Raises ValueError if `folder` exists already.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists; choose a new folder or remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        partial = Path(scratch) / folder.name  # not `scratch` itself, which only its owner may read
        partial.mkdir()
        yield partial
        os.replace(partial, folder)


def check_writable(folder: Path) -> None:
    """Raises ValueError unless files can be written in `folder`, or the folder, which may be missing, can be made."""
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    if not parent.is_dir():
        raise ValueError(f"{folder} cannot be written: {parent} is a file; name another folder")
    try:
        if not os.access(parent, os.W_OK):
            raise PermissionError(13, "Permission denied")
        os.rmdir(tempfile.mkdtemp(prefix=".prism-", dir=parent))
    except OSError as error:
        raise ValueError(f"{folder} cannot be written: {error.strerror} in {parent}; name another folder") from None
