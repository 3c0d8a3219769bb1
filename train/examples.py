"""Examples of a built data set as arrays in memory, and as a stream."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
from tqdm import tqdm

from prism_jax.data import pipeline, templates, transforms
from prism_jax.data.templates import CaptionConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Part of a data set that `prism data build` made."""

    folder: str = "data/phantom"
    split: Literal["train", "val", "test"] = "train"
    size: int = 128
    """Side of the square images that training sees, in pixels."""
    fit: Literal["pad", "crop"] = "pad"
    limit: int | None = None
    """Take only so many examples, the first."""
    captions: CaptionConfig = CaptionConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """n examples in the order of the build."""

    images: np.ndarray  # uint8 [n, h, w], grey
    captions: list[str]
    ids: np.ndarray  # int64 [n]


def fits(text: str, *, tokenize: Callable[[list[str]], np.ndarray]) -> bool:
    """Whether the text encoder takes `text` whole; `tokenize` refuses what it does not."""
    try:
        tokenize([text])
    except ValueError:
        return False
    return True


def load(data: Data, *, factor: int, tokenize: Callable[[list[str]], np.ndarray] | None = None) -> Examples:
    """All examples of `data`, each with the caption of its first turn; `factor` is the VAE's.

    Captions are cut to what `tokenize` takes, where it is given. Raises ValueError where there is no such data set.
    """
    transforms.frame(data.size, factor=factor)
    source = pipeline.open_split(data.folder, data.split)
    count = min(len(source), data.limit or len(source))
    caption = _caption(data, tokenize)
    images, texts, ids = np.empty((count, data.size, data.size), np.uint8), [], np.empty(count, np.int64)
    for i in tqdm(range(count), desc=f"reading {data.folder} {data.split}", unit="image", mininterval=5):
        example = source[i]
        picture = transforms.to_input(transforms.decode(example.image), data.size, data.fit, factor=factor)
        images[i] = transforms.to_uint8(picture[..., 0])
        texts.append(caption(example))
        ids[i] = example.id
    return Examples(images=images, captions=texts, ids=ids)


class Stream:
    """Endless shuffled batches read from disk: "image" float32 [b, h, w, 3], "tokens" int32 [b, 77], "id".

    An adapter: Grain's iterator yields text, the training step wants token ids.
    """

    def __init__(
        self,
        data: Data,
        tokenize: Callable[[list[str]], np.ndarray],
        *,
        batch_size: int,
        seed: int,
        factor: int,
    ):
        source = pipeline.open_split(data.folder, data.split)
        self._tokenize = tokenize
        self._batches = pipeline.batches(
            _First(source, min(len(source), data.limit or len(source))),
            batch_size // jax.process_count(),
            size=data.size,
            fit=data.fit,
            factor=factor,
            shuffle=True,
            seed=seed,
            epochs=None,
            drop_remainder=True,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            caption=_caption(data, tokenize),
        )

    def __next__(self) -> dict[str, np.ndarray]:
        batch = next(self._batches)
        tokens = self._tokenize([str(caption) for caption in batch["caption"]])
        return {"image": batch["image"], "tokens": tokens, "id": batch["id"]}

    def get_state(self) -> Mapping[str, Any]:
        return self._batches.get_state()

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._batches.set_state(state)


def _caption(data: Data, tokenize: Callable[[list[str]], np.ndarray] | None) -> pipeline.Caption:
    whole = partial(fits, tokenize=tokenize) if tokenize else lambda text: True
    return partial(templates.caption, config=data.captions, fits=whole)


@dataclasses.dataclass(frozen=True)
class _First:
    """The first `length` items of a sequence, read when asked for."""

    items: Any
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.items[index]
