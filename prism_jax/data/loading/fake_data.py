"""Synthetic examples held in memory, for tests and benchmarks of pipelines without a data set."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
from PIL import Image

from prism_jax.data import schema


@dataclasses.dataclass(frozen=True)
class FakeExamples:
    """`count` examples that reuse a few JPEG images [side, side] with the detail of an X-ray; see `fake_examples`."""

    count: int
    images: tuple[bytes, ...]
    side: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> schema.Example:
        if not 0 <= index < self.count:
            raise IndexError(f"example {index} of {self.count}")
        return schema.Example(
            id=index,
            image=self.images[index % len(self.images)],
            height=self.side,
            width=self.side,
            patient=str(index),
            path="",
            subject=-1,
            attributes=schema.Attributes(age=20 + index % 60, sex="MF"[index % 2]),
        )


def fake_examples(count: int, side: int = 512, *, distinct: int = 16, seed: int = 0) -> FakeExamples:
    """Examples with `distinct` different images: smooth shapes with noise as strong as a detector's."""
    draw = np.random.default_rng(seed)
    return FakeExamples(count, tuple(_image(draw, side) for _ in range(distinct)), side)


def _image(draw: np.random.Generator, side: int) -> bytes:
    coarse = Image.fromarray(draw.uniform(30, 220, (8, 8)).astype(np.float32))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    noisy = smooth + draw.normal(0, 3, (side, side))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
