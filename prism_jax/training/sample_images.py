"""PNG sheets written during training: images and their reconstructions, grids of samples."""

from pathlib import Path

import jax
import numpy as np
from PIL import Image

from prism_jax.atomic import atomic_write
from prism_jax.pixels import to_uint8


def write_pairs(
    images: np.ndarray, reconstructions: np.ndarray, run: str | Path, name: int | str, *, count: int
) -> None:
    """Writes `samples/NAME.png` in a run folder: the first uint8 `images` [n, h, w(, 1 or 3)] above `reconstructions`
    [n, h, w, 1 or 3] in [-1, 1]. Process 0 does.
    """
    if jax.process_index() != 0:
        return
    rgb = lambda x: np.broadcast_to(x[..., None] if x.ndim == 3 else x, (*x.shape[:3], 3))
    rows = [np.concatenate(list(rgb(x)), axis=1) for x in (images[:count], to_uint8(reconstructions[:count]))]
    write(np.concatenate(rows), Path(run) / "samples" / f"{name}.png")


def columns(images: np.ndarray, rows: int) -> np.ndarray:
    """uint8 images [n, h, w, 3] as one image, filled column by column with `rows` images each."""
    return np.concatenate([np.concatenate(list(images[i : i + rows])) for i in range(0, len(images), rows)], axis=1)


def write(pixels: np.ndarray, path: Path) -> None:
    """Writes uint8 pixels [h, w, 3] as a PNG."""
    with atomic_write(path) as partial:
        Image.fromarray(pixels).save(partial)
