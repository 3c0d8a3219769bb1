"""Examples of a built data set as arrays in memory, and as a stream."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
from tqdm import tqdm

from prism_jax.data import captions, pipeline, transforms
from prism_jax.data.latent_cache import Latents
from prism_jax.data.schema import Example


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
    balance: str | None = None
    """Weigh examples so that those with this finding, without it, and not known count the same together."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """n examples in the order of the build."""

    images: np.ndarray  # uint8 [n, h, w], grey
    captions: list[str]
    ids: np.ndarray  # int64 [n]


def load(data: Data, *, factor: int) -> Examples:
    """All examples of `data`; `factor` is the VAE's. Raises ValueError where there is no such data set."""
    transforms.frame(data.size, factor=factor)
    source = open_split(data)
    count = len(source)
    images, texts, ids = np.empty((count, data.size, data.size), np.uint8), [], np.empty(count, np.int64)
    for i in tqdm(range(count), desc=f"reading {data.folder} {data.split}", unit="image", mininterval=5):
        example = source[i]
        picture = transforms.to_input(transforms.decode(example.image), data.size, data.fit, factor=factor)
        images[i] = transforms.to_uint8(picture[..., 0])
        texts.append(captions.describe(example.attributes))
        ids[i] = example.id
    return Examples(images=images, captions=texts, ids=ids)


class Stream:
    """Endless shuffled batches of what `prepare` makes of `items`; "tokens" int32 [b, 77] in place of a "caption".

    An adapter: Grain's iterator also yields masks, and text where the training step wants token ids. Each process gets
    its part of `batch_size`.
    """

    def __init__(
        self,
        items: Sequence[Any],
        prepare: Callable[[Any], dict],
        tokenize: Callable[[list[str]], np.ndarray],
        *,
        batch_size: int,
        seed: int,
    ):
        self._tokenize = tokenize
        self._batches = pipeline.iterate(
            items,
            batch_size // jax.process_count(),
            prepare,
            shuffle=True,
            seed=seed,
            epochs=None,
            drop_remainder=True,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def __next__(self) -> dict[str, np.ndarray]:
        batch = next(self._batches)
        del batch["mask"]
        if "caption" in batch:
            batch["tokens"] = self._tokenize([str(caption) for caption in batch.pop("caption")])
        return batch

    def get_state(self) -> Mapping[str, Any]:
        return self._batches.get_state()

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._batches.set_state(state)


def of_images(data: Data, *, factor: int) -> tuple[Sequence[Example], Callable[[Example], dict]]:
    """The examples of `data`, and what a batch holds of each: "image" float32 [h, w, 1] in [-1, 1], "caption", "id"
    and "weight"."""
    transforms.frame(data.size, factor=factor)
    items = open_split(data)
    weigh = weights(data.balance, (example.attributes.findings for example in items))

    def prepare(example: Example) -> dict:
        image = transforms.to_input(transforms.decode(example.image), data.size, data.fit, factor=factor)
        return {
            "image": image[..., :1],  # grey: the device makes three channels of it
            "caption": captions.describe(example.attributes),
            "id": example.id,
            "weight": weigh(example.attributes.findings),
        }

    return items, prepare


def of_latents(data: Data, latents: Latents) -> tuple[Latents, Callable[[dict], dict]]:
    """The same of encoded images: "latents", "logvar" where kept, "tokens", "id" and "weight"."""
    weigh = weights(data.balance, latents.findings)

    def prepare(found: dict) -> dict:
        findings = found.pop("findings")
        return found | {"weight": weigh(findings)}

    return latents, prepare


def open_split(data: Data) -> Sequence[Example]:
    """Random access to the examples of `data`, in the order of the build."""
    source = pipeline.open_split(data.folder, data.split)
    return source if data.limit is None else Part(source, range(min(len(source), data.limit)))


def weights(name: str | None, findings: Iterable[Mapping[str, Any]]) -> Callable[[Mapping[str, Any]], np.float32]:
    """The weight of an example by its findings: those with `name`, without it, and those of which it is not known
    weigh the same together; 1 on average. None: 1 for all.

    Raises:
      ValueError: no example has the finding.
    """
    if name is None:
        return lambda found: np.float32(1)
    state = lambda found: {captions.spoken(key): value for key, value in found.items()}.get(captions.spoken(name))
    counts = Counter(state(found) for found in findings)
    if not counts[True]:
        raise ValueError(f"data.balance: no example has {name!r}; name a finding of the data set")
    each = {value: np.float32(counts.total() / len(counts) / count) for value, count in counts.items()}
    return lambda found: each[state(found)]


@dataclasses.dataclass(frozen=True)
class Part:
    """The items of a sequence at `places`, read when asked for."""

    items: Sequence[Any]
    places: range

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Any:
        return self.items[self.places[index]]
