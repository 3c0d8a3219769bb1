"""Checkpoints of a training run: state and data iterator, written by Orbax, whole or not at all."""

import base64
import contextlib
import errno
import logging
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

_UNFINISHED = ".orbax-checkpoint-tmp"
_COMPLETE = "_CHECKPOINT_METADATA"  # written last, before Orbax renames the folder to its step
# What file systems and Orbax's storage layer (in a ValueError) say when there is no room.
_NO_ROOM = ("No space left on device", "File too large", "Disk quota exceeded")


class Checkpoints:
    """The checkpoints in one folder; the newest `keep` stay.

    A class because it holds Orbax's manager, which knows the steps at hand. Saving blocks until all is on disk:
    a step that `latest` gives is complete.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2):
        self.folder = Path(folder).absolute()
        # Not asynchronous: an error (a full disk) then names the step it belongs to.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        handlers = {"state": ocp.StandardCheckpointHandler(), "iterator": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    def latest(self) -> int | None:
        """The newest complete step, or None; says so where a newer one is not complete."""
        for step in sorted(self._manager.all_steps(), reverse=True):
            if self._is_complete(step):
                return step
            print(f"{self.folder / str(step)} is not a complete checkpoint; skipped", file=sys.stderr)
        return None

    def save(self, step: int, state: Any, iterator: Any) -> None:
        """Saves under `step`: the pytree `state` and the `get_state()` of the data iterator (bytes or JSON).

        Raises:
          OSError: no room on the disk. Earlier checkpoints stay, the unfinished one is removed.
        """
        if (self.folder / str(step)).exists() and not self._is_complete(step):
            self._remove(step)
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        if size > shutil.disk_usage(self.folder).free:
            raise self._no_room(step)
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), iterator=ocp.args.JsonSave(_to_json(iterator)))
        try:
            with _quiet():
                self._manager.save(step, args=items, force=True)
                self._manager.wait_until_finished()
        except Exception as error:
            self._remove(step)
            # Reached where the file system promised more than it had: a quota, or another writer.
            if any(text in str(error) for text in _NO_ROOM) or getattr(error, "errno", None) == errno.ENOSPC:
                raise self._no_room(step) from error
            raise

    def restore(self, step: int, like: Any) -> tuple[Any, Any]:
        """State and iterator state of `step`; `like` gives shapes, dtypes and shardings (on any devices).

        Raises:
          ValueError: the stored state has other arrays or shapes than `like`, or files are missing.
        """
        with self._reading(step):
            stored = self._manager.item_metadata(step).state.tree
        self._check_fits(step, _shapes(stored), _shapes(like))
        items = ocp.args.Composite(state=ocp.args.StandardRestore(like), iterator=ocp.args.JsonRestore())
        with self._reading(step):
            restored = self._manager.restore(step, args=items)
        return restored.state, _from_json(restored.iterator)

    def restore_raw(self, step: int) -> Any:
        """The state of `step` as nested dicts (keys are text) of arrays on one device, wherever it was saved."""
        where = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        one_device = lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where)
        with self._reading(step):
            like = jax.tree.map(one_device, self._manager.item_metadata(step).state.tree)
            return self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like))).state

    def close(self) -> None:
        """Releases Orbax's threads."""
        self._manager.close()

    def _no_room(self, step: int) -> OSError:
        return OSError(
            f"no room to save checkpoint {step} in {self.folder}; earlier ones are kept: "
            "free some disk and run the same command to go on"
        )

    def _is_complete(self, step: int) -> bool:
        return (self.folder / str(step) / _COMPLETE).is_file()

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError) as error:
            raise ValueError(
                f"checkpoint {self.folder / str(step)} is damaged; remove that folder to go on from the one "
                f"before: {str(error)[:200]}"
            ) from error

    def _check_fits(self, step: int, stored: Mapping[str, tuple], wanted: Mapping[str, tuple]) -> None:
        for name in sorted(stored.keys() | wanted.keys()):
            there, here = stored.get(name, "absent"), wanted.get(name, "absent")
            if there != here:
                raise ValueError(
                    f"checkpoint {self.folder / str(step)} does not fit this configuration: {name} is {there} "
                    f"there and {here} here; use another run folder, or the configuration it was made with"
                )

    def _remove(self, step: int) -> None:
        # Until it stays away: after an error Orbax's writers may still be at work, and make the folder anew.
        deadline, is_gone = time.monotonic() + 10, False
        while not is_gone and time.monotonic() < deadline:
            leftovers = self._leftovers(step)
            for path in leftovers:
                shutil.rmtree(path, ignore_errors=True)
            time.sleep(0.1)
            is_gone = not leftovers and not self._leftovers(step)
        self._manager.reload()

    def _leftovers(self, step: int) -> list[Path]:
        paths = list(self.folder.iterdir()) if self.folder.is_dir() else []
        return [path for path in paths if path.name == str(step) or _UNFINISHED in path.name]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Orbax's threads from printing a traceback each; the error that is raised says it all."""
    logger, hook = logging.getLogger("absl"), sys.unraisablehook
    level = logger.level

    def without_closed_loops(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            hook(unraisable)

    logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = without_closed_loops
    try:
        yield
        # Not after an error: writes that were still under way then end later, and complain that nobody waits.
        sys.unraisablehook = hook
    finally:
        logger.setLevel(level)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """{dotted path: shape}; the same for a pytree and for Orbax's description of it."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {".".join(_name(entry) for entry in path): tuple(leaf.shape) for path, leaf in leaves}


def _name(entry: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _to_json(state: Any) -> dict:
    if isinstance(state, bytes):
        return {"bytes": base64.b64encode(state).decode()}
    return {"json": state}


def _from_json(stored: Mapping) -> Any:
    return base64.b64decode(stored["bytes"]) if "bytes" in stored else stored["json"]
