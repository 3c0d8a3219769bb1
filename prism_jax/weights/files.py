"""Safetensors files as diffusers and transformers lay them out in a model folder."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from prism_jax.atomic import atomic_write
from prism_jax.pretrained import folder as model_folder

CONVERSION_HINT = (
    'convert it once where PyTorch is: python -c "import torch, safetensors.torch as s; '
    "s.save_file(torch.load('{source}', map_location='cpu', weights_only=True), '{target}')\""
)


def find(folder: Path, stem: str) -> list[Path]:
    """The files that together hold the weights `stem`: full precision first, else fp16; whole or in shards.

    Raises:
      ValueError: no weights, only a pickle (`.bin`), or an index whose shards are missing.
    """
    for suffix in ("safetensors", "fp16.safetensors"):
        whole = folder / f"{stem}.{suffix}"
        if whole.is_file():
            return [whole]
        name = "safetensors.index.json" if suffix == "safetensors" else "safetensors.index.fp16.json"
        index = folder / f"{stem}.{name}"
        if index.is_file():
            return _shards(index)
    pickles = sorted(folder.glob("*.bin")) if folder.is_dir() else []
    if pickles:
        source = pickles[0]
        hint = CONVERSION_HINT.format(source=source, target=folder / f"{stem}.safetensors")
        raise ValueError(f"{source} is a pickle, which can run code when opened and is never read; {hint}")
    raise ValueError(f"no weights in {folder}: expected {stem}.safetensors (or .fp16, or an index of shards)")


def _shards(index: Path) -> list[Path]:
    names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise ValueError(f"{index} names shards that are not there: {missing}; download them again")
    return [index.parent / name for name in names]


def read(files: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """Name and value of every tensor, one in memory at a time; ValueError for a damaged file."""
    for file in files:
        try:
            with safe_open(file, "numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                    yield name, tensors.get_tensor(name)
        except SafetensorError as error:
            raise ValueError(f"{file} is not a whole safetensors file ({error}); copy it again") from error


def fingerprint(folder: Path | str) -> str:
    """A hash of all weights and settings below a folder of a model, or of one of its networks."""
    folder, digest = model_folder(folder), hashlib.blake2b(digest_size=20)
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".safetensors", ".json", ".txt"):
            digest.update(str(file.relative_to(folder)).encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "blake2b").digest())
    return digest.hexdigest()


def size_in_bytes(folder: Path | str) -> int:
    """Bytes of all weights below a folder of a model."""
    return sum(file.stat().st_size for file in model_folder(folder).rglob("*.safetensors"))


def write(tensors: Mapping[str, np.ndarray], file: Path) -> None:
    """Writes one safetensors file, whole or not at all."""
    with atomic_write(file) as partial:
        save_file({name: np.asarray(value, order="C") for name, value in tensors.items()}, partial, {"format": "pt"})
