"""Model card: intended use, training data, edit defaults, and the reconstruction error of the autoencoder.

`prism_card.json` in the model's diffusers folder, where PyTorch diffusers ignores it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from prism_jax import json_codec
from prism_jax.data.captions.templates import PLAIN, Template
from prism_jax.stable_diffusion import CARD_FILE, StableDiffusion, read_card


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditDefaults:
    """Inversion and edit options that work with the model; the values here are those of Stable Diffusion 1.5."""

    method: str = "edit_friendly"
    steps: int = 50
    guidance: float = 7.5
    inner_steps: int = 10
    cross_steps: float = 0.8
    self_steps: float = 0.5
    weight: float = 1.0
    blend: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionForm:
    """Form of the captions of the training data."""

    template: Template = PLAIN
    findings: tuple[str, ...] = ()
    """Names of findings as the training captions spell them, in their order; empty: not known."""
    always_stated: tuple[str, ...] = ()
    """Attributes (age, sex, view, race, findings) that every training caption states."""
    example: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """Training data and base model."""

    data: str = ""
    images: int | None = None
    steps: int | None = None
    base: str = ""
    """The model it was fine-tuned from; empty: none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderError:
    """Fraction of the detail of held-out images that the autoencoder loses; see `prism_jax.image_kind`."""

    data: str
    images: int
    mean: float
    p99: float
    """99th percentile."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """An example image that ships with the model."""

    image: str
    """File in the model's folder."""
    prompt: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Everything a program needs to know about a model besides its weights."""

    description: str = ""
    size: int | None = None
    """Side of the training images in pixels."""
    duration: str = ""
    """How long one edit takes, and on which machine."""
    edit: EditDefaults = EditDefaults()
    captions: CaptionForm = CaptionForm()
    training: TrainingRecord = TrainingRecord()
    autoencoder: AutoencoderError | None = None
    judges: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Classifiers that measure whether an edit succeeded, by name: names of shipped ones, or folders."""
    example: Example | None = None

    def to_json(self) -> dict[str, Any]:
        """As `StableDiffusion.card` holds it and `prism_card.json` stores it."""
        return json_codec.encode(self)


NO_CARD = ModelCard(description="a model without a card")
Options = TypeVar("Options")


def filled(options: Options, defaults: EditDefaults, names: Sequence[str]) -> Options:
    """The dataclass `options` with those fields of `names` that are None taken from `defaults`."""
    missing = [name for name in names if getattr(options, name) is None]
    return dataclasses.replace(options, **{name: getattr(defaults, name) for name in missing})


def of(sd: StableDiffusion) -> ModelCard:
    """The card of a loaded model; NO_CARD where it has none. Raises ValueError as `read`."""
    return NO_CARD if sd.card is None else parse(sd.card, CARD_FILE)


def read(folder: str | Path) -> ModelCard:
    """The card in a model's folder; NO_CARD where there is none.

    Raises:
      ValueError: the card has an unknown field or a value of another type.
    """
    content = read_card(folder)
    return NO_CARD if content is None else parse(content, str(Path(folder) / CARD_FILE))


def parse(content: Mapping[str, Any], name: str) -> ModelCard:
    """The card in the JSON object `content`; fields that it lacks have their defaults. `name` is for messages."""
    try:
        return json_codec.decode(ModelCard, content, is_complete=False)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; correct it, or remove the file to use the defaults") from None
