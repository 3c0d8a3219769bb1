"""Training examples of a built data set: as arrays in memory, and as a stream of batches."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
from tqdm import tqdm

from prism_jax.data.captions import phrases, templates
from prism_jax.data.captions.templates import CaptionConfig
from prism_jax.data.loading import pipeline
from prism_jax.data.loading.latent_cache import Latents
from prism_jax.data.loading.mixture import Component, Mixture
from prism_jax.data.schema import Attributes, Example
from prism_jax.pixels import to_uint8

READ_AT_ONCE = 64  # images
Tokenize = Callable[[list[str]], np.ndarray]
"""Texts -> int32 [n, 77]; ValueError for one that is too long."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtraDataset:
    """A further data set to draw examples from."""

    folder: str
    weight: float = 1.0
    """Number of examples drawn from it for each example of the main data set."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """One split of a data set that `prism data build` made."""

    folder: str = "data/phantom"
    """Data set built by `prism data build`."""
    split: Literal["train", "val", "test"] = "train"
    """Split whose images are used."""
    size: int = 128
    """Side in pixels of the square images."""
    fit: Literal["pad", "crop"] = "pad"
    """Pad images with black to a square, or crop their centre."""
    limit: int | None = None
    """Number of examples to use, the first ones; None: all."""
    captions: CaptionConfig = CaptionConfig()
    crop: str | None = None
    """Crop images to the bounding box of this mask, for example lungs."""
    extra: tuple[ExtraDataset, ...] = ()
    """Further data sets to draw from."""
    balanced_sampling_on: str | None = None
    """Draw images with and without this finding equally often; images in which it is unknown are not drawn."""
    num_workers: int = 0
    """Worker processes that decode images; 0: threads of this process."""
    class_weight_on: str | None = None
    """Weight the loss so that examples with this finding, without it, and in which it is unknown contribute equally."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """n examples in memory, in the order of the build."""

    images: np.ndarray  # uint8 [n, h, w], grey
    ids: np.ndarray  # int64 [n]
    attributes: tuple[Attributes, ...]
    patients: np.ndarray  # str [n]


def load(data: Data, *, factor: int = 1) -> Examples:
    """All images of `data`; `factor` is the VAE's. Raises ValueError where there is no such data set or split."""
    source = open_split(data)
    options = dict(size=data.size, fit=data.fit, factor=factor, crop=data.crop)
    images = np.empty((len(source), data.size, data.size), np.uint8)
    starts = tqdm(range(0, len(source), READ_AT_ONCE), desc=f"reading {data.folder} {data.split}", mininterval=5)
    for start, batch in zip(starts, pipeline.batches(source, READ_AT_ONCE, **options), strict=True):
        images[start : start + READ_AT_ONCE] = to_uint8(batch["image"][batch["mask"]][..., 0])
    known = [(example.id, example.attributes, example.patient) for example in source]
    ids, attributes, patients = zip(*known, strict=True) if known else ((), (), ())
    return Examples(images=images, ids=np.array(ids, np.int64), attributes=attributes, patients=np.array(patients))


def open_split(data: Data) -> Sequence[Example]:
    """Random access to the examples of `data`, in the order of the build."""
    source = pipeline.open_split(data.folder, data.split)
    return source if data.limit is None else Rows(source, range(min(len(source), data.limit)))


class Stream:
    """Endless training batches: `numbers` of each batch of the pipeline, which yields text and attributes."""

    def __init__(self, batches: pipeline.Batches, numbers: Callable[[Mapping[str, Any]], dict[str, np.ndarray]]):
        self._batches, self._numbers = batches, numbers

    def __next__(self) -> dict[str, np.ndarray]:
        return self._numbers(next(self._batches))

    def get_state(self) -> Mapping[str, Any]:
        return self._batches.get_state()

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._batches.set_state(state)


def captioned(batch: Mapping[str, Any], *, tokenize: Tokenize, weigh: Callable[..., float]) -> dict[str, np.ndarray]:
    """The numbers of a batch: "image" float32 [b, h, w, 1] in [-1, 1], or "latents" and perhaps "logvar"; "tokens"
    int32 [b, 77], "id" int64 [b] and "weight" float32 [b]."""
    arrays = {name: batch[name] for name in ("latents", "logvar", "id") if name in batch}
    if "image" in batch:
        arrays["image"] = batch["image"][..., :1]  # grey: the device makes three channels of it
    arrays["tokens"] = tokenize([str(caption) for caption in batch["caption"]])
    arrays["weight"] = np.array([weigh(known.findings) for known in batch["attributes"]], np.float32)
    return arrays


def image_stream(data: Data, tokenize: Tokenize, *, batch_size: int, seed: int, factor: int) -> Stream:
    """The stream of the images of `data`; each process gets its part of `batch_size`."""
    sources = open_all(data)
    drawn = sample_from(data, sources, [(example.attributes for example in source) for source in sources])
    caption = captioner(data, tokenize)
    read = batches(data, drawn, batch_size=batch_size, seed=seed, factor=factor, caption=caption)
    findings = (example.attributes.findings for source in sources for example in source)
    return Stream(read, partial(captioned, tokenize=tokenize, weigh=weights(data.class_weight_on, findings)))


def open_all(data: Data) -> list[Sequence[Example]]:
    """The split of `data` in its data set, and in each that is mixed in."""
    folders = (data.folder, *(extra.folder for extra in data.extra))
    return [open_split(dataclasses.replace(data, folder=folder)) for folder in folders]


def batches(
    data: Data,
    drawn: Sequence[Example] | Mixture,
    *,
    batch_size: int,
    seed: int,
    factor: int,
    caption: pipeline.Caption = pipeline.describe,
) -> pipeline.Batches:
    """Endless shuffled batches of `drawn`, prepared as `data` has it; each process gets its part of `batch_size`."""
    return pipeline.batches(
        drawn,
        batch_size // jax.process_count(),
        size=data.size,
        fit=data.fit,
        factor=factor,
        crop=data.crop,
        num_workers=data.num_workers,
        seed=seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        caption=caption,
    )


def latent_stream(data: Data, latents: Latents, tokenize: Tokenize, *, batch_size: int, seed: int) -> Stream:
    """The stream of the same images encoded: the same examples and captions in the same order."""
    caption = captioner(data, tokenize)

    def prepare(item: tuple[dict[str, np.ndarray], Example], turn: int) -> dict[str, Any]:
        arrays, example = item
        described = {"caption": caption(example, turn), "attributes": example.attributes, "id": example.id}
        return arrays | described

    batches = pipeline.iterate(
        sample_from(data, [latents], [(example.attributes for example in latents.examples)]),
        batch_size // jax.process_count(),
        prepare,
        seed=seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    findings = (example.attributes.findings for example in latents.examples)
    return Stream(batches, partial(captioned, tokenize=tokenize, weigh=weights(data.class_weight_on, findings)))


def sample_from(
    data: Data, sources: Sequence[Sequence[Any]], known: Sequence[Iterable[Attributes]]
) -> Sequence[Any] | Mixture:
    """The one source, or a mixture by the weights and classes of `data`; `known` has each source's attributes.

    Raises:
      ValueError: no example of a source has the finding `data.balanced_sampling_on`, or is known not to have it.
    """
    finding = data.balanced_sampling_on
    if finding is None and len(sources) == 1:
        return sources[0]
    classes = [None if finding is None else finding_classes(finding, attributes) for attributes in known]
    parts = zip(sources, (1.0, *(other.weight for other in data.extra)), classes, strict=True)
    return Mixture(components=tuple(Component(examples=s, weight=rate, classes=each) for s, rate, each in parts))


def finding_classes(name: str, known: Iterable[Attributes]) -> np.ndarray:
    """int [n]: 1 with the finding, 0 without it, -1 where that is not known."""
    states = [finding_state(name, attributes.findings) for attributes in known]
    if not {True, False} <= set(states):
        raise ValueError(
            f"data.balanced_sampling_on {name!r} needs images that state the finding and images that state its absence"
        )
    return np.array([-1 if state is None else int(state) for state in states])


def finding_state(name: str, findings: Mapping[str, Any]) -> bool | None:
    """State of a finding, by its name in captions: True, False, or None if it is not stated."""
    return {phrases.spoken(key): value for key, value in findings.items()}.get(phrases.spoken(name))


def captioner(data: Data, tokenize: Tokenize) -> pipeline.Caption:
    """(example, turn) -> its caption, cut to what `tokenize` takes."""

    def fits(text: str) -> bool:
        try:
            tokenize([text])
        except ValueError:
            return False
        return True

    return partial(templates.caption, config=data.captions, fits=fits)


def weights(name: str | None, findings: Iterable[Mapping[str, Any]]) -> Callable[[Mapping[str, Any]], np.float32]:
    """The weight of an example by its findings: those with `name`, without it, and those of which it is not known
    weigh the same together; 1 on average. None: 1 for all.

    Raises:
      ValueError: no example has the finding.
    """
    if name is None:
        return lambda findings: np.float32(1)
    counts = Counter(finding_state(name, stated) for stated in findings)
    if not counts[True]:
        raise ValueError(f"data.class_weight_on: no example has {name!r}; name a finding of the data set")
    each = {value: np.float32(counts.total() / len(counts) / count) for value, count in counts.items()}
    return lambda findings: each[finding_state(name, findings)]


@dataclasses.dataclass(frozen=True)
class Rows:
    """The items of a sequence at `places`, read when asked for."""

    items: Sequence[Any]
    places: range

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Any:
        return self.items[self.places[index]]
