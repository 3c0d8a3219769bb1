"""Store of inversions on disk, so that further edits of the same images need no new inversion."""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax.atomic import atomic_write
from prism_jax.editing import Inversion

GIGABYTE = 2**30
HALF = ("trajectory", "null_context", "offsets")  # stored as float16
BY_STEP = (*HALF, "inner_iterations")  # arrays [t, b, ...]


def rounded(inversion: Inversion) -> Inversion:
    """The inversion rounded as in the store: float16, except the clean latents, which may be the reconstruction."""
    half = lambda x: None if x is None else x.astype(jnp.float16).astype(jnp.float32)
    path = inversion.trajectory
    return inversion.replace(
        trajectory=jnp.concatenate([path[:1], half(path[1:])]),
        null_context=half(inversion.null_context),
        offsets=half(inversion.offsets),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InversionStore:
    """One file per image in `folder`; above `gigabytes` the least recently used are removed."""

    folder: Path
    gigabytes: float
    model: str  # fingerprint of the weights

    def __post_init__(self) -> None:
        if self.gigabytes <= 0:
            raise ValueError(f"inversion_store_gigabytes must be above 0, got {self.gigabytes}")
        self.folder.mkdir(parents=True, exist_ok=True)

    def key(self, pixels: np.ndarray, prompt: str, options: Mapping[str, Any]) -> str:
        """Name of the inversion of this image for this prompt, model and settings."""
        text = json.dumps([self.model, prompt, dict(options), list(pixels.shape)], sort_keys=True, default=str)
        return hashlib.blake2b(text.encode() + np.ascontiguousarray(pixels).tobytes(), digest_size=20).hexdigest()

    def load(self, keys: Sequence[str], context: jax.Array, **facts: Any) -> Inversion | None:
        """The batch of these keys, or None if one of them is not here; `facts` are the other fields of `Inversion`."""
        try:
            rows = [self._read(key) for key in keys]
        except FileNotFoundError:
            return None
        arrays = {name: np.stack([row[name] for row in rows], axis=1) for name in rows[0]}
        arrays |= {name: arrays[name].astype(np.float32) for name in HALF if name in arrays}
        path, null = np.concatenate([arrays.pop("clean"), arrays["trajectory"]]), arrays["null_context"]
        arrays |= dict(trajectory=path, null_context=np.broadcast_to(null, (len(path) - 1, *null.shape[1:])))
        return Inversion(context=context, **({"offsets": None} | jax.tree.map(jnp.asarray, arrays)), **facts)

    def save(self, keys: Sequence[str], inversion: Inversion) -> None:
        """Writes every image of a batch to a file of its own, atomically."""
        arrays = {name: getattr(inversion, name) for name in BY_STEP}
        arrays = jax.device_get({name: value for name, value in arrays.items() if value is not None})
        for i, key in enumerate(keys):
            row = {name: value[:, i] for name, value in arrays.items()}
            path, null = row["trajectory"], row["null_context"]
            null = null[:1] if (null == null[:1]).all() else null  # only null_text tunes one for every step
            row |= dict(trajectory=path[1:], null_context=null)
            row |= {name: row[name].astype(np.float16) for name in HALF if name in row}
            with atomic_write(self._file(key)) as partial:
                np.savez(partial, clean=path[:1], **row)
        self._trim()

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

    def _read(self, key: str) -> dict[str, np.ndarray]:
        with np.load(self._file(key)) as arrays:
            loaded = dict(arrays)
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._file(key))  # used just now
        return loaded

    def _trim(self) -> None:
        files = []
        for file in self.folder.glob("*.npz"):
            with contextlib.suppress(FileNotFoundError):  # another process trims too
                files.append((file.stat().st_mtime, file.stat().st_size, file))
        total = sum(size for _, size, _ in files)
        for _, size, file in sorted(files):
            if total <= self.gigabytes * GIGABYTE:
                break
            file.unlink(missing_ok=True)
            total -= size
