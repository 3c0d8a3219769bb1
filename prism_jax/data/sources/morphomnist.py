"""Morpho-MNIST with a thickness -> intensity causal model, as handed out with DeepSCM (Pawlowski et al., NeurIPS 2020).

The digits of MNIST, each redrawn with a stroke of the thickness t and brightness i of its row in a table:
t = 0.5 + Gamma(10, rate 5) pixels, i = 64 + 191 sigmoid(2 (t - 2.5) + e / 2) grey levels, e standard normal. The digit
is a root. Copies in circulation lack the 60,000 training images; then the 10,000 test images are split, and
`MorphoMnistSplit.origin` names them.
"""

import dataclasses
import gzip
from pathlib import Path
from typing import Literal

import numpy as np

from prism_jax.data.sources import tables

SIDE = 28  # pixels
FULL = "train-images-idx3-ubyte.gz"
# Rows of each split: from the test files alone; from all files, with validation taken from training. The published
# baseline validates on its test set.
WITHOUT_TRAINING = {"train": ("t10k", 0, 8000), "val": ("t10k", 8000, 9000), "test": ("t10k", 9000, 10_000)}
WITH_TRAINING = {"train": ("train", 0, 55_000), "val": ("train", 55_000, 60_000), "test": ("t10k", 0, 10_000)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MorphoMnistSplit:
    """n digits; thickness (pixels) and intensity (grey levels) are the targets of the generator, not measurements."""

    images: np.ndarray | None  # uint8 [n, 28, 28], 0 is background; None without images
    attributes: dict[str, np.ndarray]  # thickness, intensity float32 [n], digit int32 [n]
    ids: np.ndarray  # int64 [n], rows of the table
    origin: str  # rows and file, for reports


def read(folder: str | Path, split: Literal["train", "val", "test"]) -> MorphoMnistSplit:
    """Images and attributes of a split. ValueError for a missing or damaged file."""
    if split not in WITH_TRAINING:
        raise ValueError(f"Morpho-MNIST has the splits train, val and test, got {split!r}")
    parts = WITH_TRAINING if (Path(folder) / FULL).is_file() else WITHOUT_TRAINING
    stem, start, stop = parts[split]
    full = table(folder, stem)
    images = read_idx(Path(folder) / f"{stem}-images-idx3-ubyte.gz")
    if images.shape != (len(full.ids), SIDE, SIDE):
        raise ValueError(f"{stem} images have the shape {images.shape} for {len(full.ids)} rows of the table")
    rows = slice(start, min(stop, len(images)))
    return MorphoMnistSplit(
        images=images[rows],
        attributes={name: column[rows] for name, column in full.attributes.items()},
        ids=full.ids[rows],
        origin=f"rows {start} to {rows.stop - 1} of {stem}",
    )


def table(folder: str | Path, stem: Literal["train", "t10k"]) -> MorphoMnistSplit:
    """Attributes of a whole file without its images: all 60,000 of "train" or 10,000 of "t10k"."""
    digits = read_idx(Path(folder) / f"{stem}-labels-idx1-ubyte.gz")
    file, rows = tables.load(folder, f"{stem}-morpho.csv", ("index", "thickness", "intensity"))
    column = lambda name: np.array([row[name] for row in rows], np.float32)
    if digits.shape != (len(rows),):
        raise ValueError(f"{file} has {len(rows)} rows, the labels beside it the shape {digits.shape}")
    attributes = {"thickness": column("thickness"), "intensity": column("intensity"), "digit": digits.astype(np.int32)}
    return MorphoMnistSplit(
        images=None, attributes=attributes, ids=np.arange(len(digits)), origin=f"all rows of {stem}"
    )


def read_idx(file: Path) -> np.ndarray:
    """The uint8 array in a gzipped IDX file; ValueError for a missing or damaged file."""
    if not file.is_file():
        raise ValueError(f"{file} is missing; give the folder that holds the files of Morpho-MNIST")
    try:
        content = gzip.decompress(file.read_bytes())
    except (OSError, EOFError) as error:
        raise ValueError(f"{file} cannot be unpacked ({error}); copy it again") from None
    kind, rank = content[2:4] if len(content) > 3 else (0, 0)
    shape = np.frombuffer(content, ">i4", rank, 4) if len(content) >= 4 + 4 * rank else np.zeros(1, int)
    if content[:2] != b"\0\0" or kind != 8 or len(content) != 4 + 4 * rank + np.prod(shape, dtype=np.int64):
        raise ValueError(f"{file} is not a whole IDX file of bytes; copy it again")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def padded(images: np.ndarray, size: int = 32) -> np.ndarray:
    """uint8 [n, 28, 28] -> [n, size, size, 1], black around."""
    before = (size - images.shape[1]) // 2
    after = size - images.shape[1] - before
    return np.pad(images, ((0, 0), (before, after), (before, after)))[..., None]


def brightened(images: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Counterfactual images under do(intensity): uint8 [n, ...], intensity scaled from `before` [n] to `after` [n].

    Up to rounding and saturation: every pixel is multiplied.
    """
    factor = (np.asarray(after, np.float64) / before).reshape(-1, *(1,) * (images.ndim - 1))
    return np.clip(images * factor, 0, 255).astype(np.uint8)
