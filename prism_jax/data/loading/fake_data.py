"""Synthetic examples held in memory, for tests and benchmarks of pipelines without a data set."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from prism_jax.data import schema


def fake_examples(count: int, side: int = 512, *, distinct: int = 16, seed: int = 0) -> list[schema.Example]:
    """Examples that share `distinct` JPEG images [side, side]: smooth shapes with noise as strong as a detector's."""
    draw = np.random.default_rng(seed)
    images = [_image(draw, side) for _ in range(distinct)]
    return [
        schema.Example(
            id=index,
            image=images[index % distinct],
            height=side,
            width=side,
            patient=str(index),
            path="",
            subject=-1,
            attributes=schema.Attributes(age=20 + index % 60, sex="MF"[index % 2]),
        )
        for index in range(count)
    ]


def _image(draw: np.random.Generator, side: int) -> bytes:
    coarse = Image.fromarray(draw.uniform(30, 220, (8, 8)).astype(np.float32))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    noisy = smooth + draw.normal(0, 3, (side, side))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
