"""Checkpoints of a training run: state and data iterator, written atomically by Orbax."""

import base64
import contextlib
import errno
import json
import logging
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from prism_jax.atomic import atomic_write
from prism_jax.sharding import dotted

VALIDATION_LOSS = "validation_loss"  # the metric by which the best checkpoints are kept
_SIZES = "sizes.json"  # of all files of a checkpoint, written by us when Orbax is done
_UNFINISHED = ".orbax-checkpoint-tmp"
_COMPLETE = "_CHECKPOINT_METADATA"  # written last, before Orbax renames the folder to its step
# Error texts of file systems and of Orbax's storage layer (in a ValueError) when the disk is full.
_NO_ROOM = ("No space left on device", "File too large", "Disk quota exceeded")


class Checkpoints:
    """The checkpoints in one folder: the newest `keep` stay, and the `keep_best` of the lowest validation loss.

    A class because it holds Orbax's manager, which knows the existing steps, and the save in progress.
    `save` copies the state and writes it in the background; steps that `latest` returns are complete. A reader leaves
    unfinished files of a running training alone.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, keep_best: int = 0, is_reader: bool = False):
        import orbax.checkpoint as ocp
        from orbax.checkpoint.checkpoint_managers import preservation_policy as preservation

        self.folder = Path(folder).absolute()
        loss = lambda metrics: metrics[VALIDATION_LOSS]
        lowest = preservation.BestN(
            get_metric_fn=loss, reverse=True, n=keep_best, keep_checkpoints_without_metrics=False
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation.AnyPreservationPolicy([preservation.LatestN(keep), lowest]),
            best_fn=loss,  # without it Orbax writes no metrics
            best_mode="min",
            cleanup_tmp_directories=not is_reader,
            create=not is_reader,
            save_interval_steps=0 if is_reader else 1,
            read_only=is_reader,
        )
        handlers = {"state": ocp.StandardCheckpointHandler(), "iterator": ocp.JsonCheckpointHandler()}
        with _quiet() if is_reader else contextlib.nullcontext():  # Orbax warns when it opens read-only
            self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)
        self._under_way: int | None = None

    def latest(self) -> int | None:
        """The newest complete step, or None; warns about newer ones that are incomplete."""
        self.wait()
        for step in sorted(self._manager.all_steps(), reverse=True):
            if self._is_complete(step):
                return step
            print(f"warning: {self.folder / str(step)} is incomplete; skipped", file=sys.stderr)
        return None

    def best(self) -> int | None:
        """The complete step with the lowest validation loss, or None where no checkpoint has one."""
        self.wait()
        losses = {step: self._manager.metrics(step) for step in self._manager.all_steps() if self._is_complete(step)}
        losses = {step: metrics[VALIDATION_LOSS] for step, metrics in losses.items() if metrics}
        return min(losses, key=losses.get, default=None)

    def save(self, step: int, state: Any, iterator: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Begins to save under `step`: the pytree `state` and the `get_state()` of the data iterator (bytes or JSON).

        `metrics` may hold the validation loss. Waits for the save before, if it is still under way.

        Raises:
          OSError: no room on the disk, for this one or the one before. Earlier checkpoints stay, the unfinished one
            is removed.
        """
        import orbax.checkpoint as ocp

        self.wait()
        if (self.folder / str(step)).exists() and not self._is_complete(step):
            self._remove(step)
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        if size > shutil.disk_usage(self.folder).free:
            raise self._no_room(step)
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), iterator=ocp.args.JsonSave(_to_json(iterator)))
        self._under_way = step
        with self._writing():
            self._manager.save(step, args=items, metrics=dict(metrics) if metrics else None, force=True)

    def poll(self) -> None:
        """Completes a finished background save; does not wait for an unfinished one; raises as `save` does."""
        if self._under_way is not None and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Waits until the save in progress is on disk; raises as `save` does."""
        if self._under_way is None:
            return
        with self._writing():
            self._manager.wait_until_finished()
        self._note_sizes(self._under_way)
        self._under_way = None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Converts the errors of a failed save, immediate or in the background, into one clear error."""
        step = self._under_way
        try:
            with _quiet():
                yield
        except Exception as error:
            self._under_way = None
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
        import orbax.checkpoint as ocp

        with self._reading(step):
            stored = self._manager.item_metadata(step).state.tree
        self._check_fits(step, _shapes(stored), _shapes(like))
        items = ocp.args.Composite(state=ocp.args.StandardRestore(like), iterator=ocp.args.JsonRestore())
        with self._reading(step):
            restored = self._manager.restore(step, args=items)
        return restored.state, _from_json(restored.iterator)

    def restore_raw(self, step: int) -> Any:
        """The state of `step` as nested dicts (keys are text) of arrays on one device, wherever it was saved."""
        import orbax.checkpoint as ocp

        where = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        one_device = lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where)
        with self._reading(step):
            like = jax.tree.map(one_device, self._manager.item_metadata(step).state.tree)
            return self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like))).state

    def close(self) -> None:
        """Waits for the save in progress, and releases Orbax's threads."""
        try:
            self.wait()
        finally:
            self._manager.close()

    def _no_room(self, step: int) -> OSError:
        return OSError(
            f"no room to save checkpoint {step} in {self.folder}; earlier ones are kept: "
            "free some space and run the same command to resume"
        )

    def _is_complete(self, step: int) -> bool:
        """Whether all files of a step exist with their full length."""
        folder = self.folder / str(step)
        if not (folder / _COMPLETE).is_file():
            return False
        noted = folder / _SIZES
        if not noted.is_file():  # the process ended between Orbax's last write and the note of sizes
            return True
        try:
            return _sizes(folder) == json.loads(noted.read_text())
        except ValueError:
            return False

    def _note_sizes(self, step: int) -> None:
        # Orbax notices a truncated file only when it reads the missing part, which may be late or never.
        folder = self.folder / str(step)
        if jax.process_index() == 0 and folder.is_dir():
            with atomic_write(folder / _SIZES) as partial:
                partial.write_text(json.dumps(_sizes(folder)))

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError) as error:
            raise ValueError(
                f"checkpoint {self.folder / str(step)} is damaged; remove that folder to resume from the one "
                f"before: {str(error)[:200]}"
            ) from error

    def _check_fits(self, step: int, stored: Mapping[str, tuple], wanted: Mapping[str, tuple]) -> None:
        for name in sorted(stored.keys() | wanted.keys()):
            there, here = stored.get(name, "absent"), wanted.get(name, "absent")
            if there != here:
                raise ValueError(
                    f"checkpoint {self.folder / str(step)} does not fit this configuration: {name} is {there} "
                    f"there and {here} here; use another run folder, or its configuration"
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
    """Keeps Orbax's threads from printing one traceback each; the error that is raised is enough."""
    logger, hook = logging.getLogger("absl"), sys.unraisablehook
    level = logger.level

    def without_closed_loops(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            hook(unraisable)

    logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = without_closed_loops
    try:
        yield
        # Not after an error: writes still in progress would end later and raise an error that nobody handles.
        sys.unraisablehook = hook
    finally:
        logger.setLevel(level)


def _sizes(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != _SIZES)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """{dotted path: shape}; the same for a pytree and for Orbax's description of it."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {dotted(path): tuple(leaf.shape) for path, leaf in leaves}


def _to_json(state: Any) -> dict:
    if isinstance(state, bytes):
        return {"bytes": base64.b64encode(state).decode()}
    return {"json": state}


def _from_json(stored: Mapping) -> Any:
    return base64.b64decode(stored["bytes"]) if "bytes" in stored else stored["json"]
