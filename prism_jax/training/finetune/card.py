"""The model card of a fine-tuned model, from its run's configuration and the data it was trained on."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from prism_jax import image_kind
from prism_jax.data.captions.phrases import SLOTS
from prism_jax.data.captions.templates import Template
from prism_jax.data.schema import Attributes
from prism_jax.data.sources import build
from prism_jax.model_card import AutoencoderError, CaptionForm, ModelCard, TrainingRecord
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.training import examples
from prism_jax.training.finetune.run import FinetuneRun

CAPTIONS_READ = 2000  # training examples from which the form of the captions is taken


def card_of(config: FinetuneRun, sd: StableDiffusion, base: ModelCard, step: int, *, held_out: int) -> ModelCard:
    """The card of the model that `config` trained for `step` steps from one with the card `base`.

    Edit defaults are those of the base model. Judges are kept where data like the base model's was trained on: with
    the same findings, and images whose detail its autoencoder keeps. Without the training data (`has_data`) there are
    no caption form, autoencoder error and judges.

    Args:
      held_out: validation images on which the autoencoder is measured; 0 for none.
    """
    data, template = config.data, config.data.captions.templates[0]
    name = Path(data.folder).name
    if has_data(config):
        name = f"{build.read_build(data.folder)[0]} ({name})"
    card = ModelCard(
        description=f"{Path(config.model).name} fine-tuned on {name}",
        size=data.size,
        edit=base.edit,
        captions=CaptionForm(template=template),
        training=TrainingRecord(data=name, steps=step, base=config.model),
    )
    if not has_data(config):
        return card
    training = examples.open_split(data)
    read = (training[i].attributes for i in range(min(len(training), CAPTIONS_READ)))
    captions = caption_form(read, template)
    autoencoder = measured(config, sd, name, held_out)
    is_same_kind = captions.findings == base.captions.findings and (
        autoencoder is None or base.autoencoder is None or autoencoder.p99 <= image_kind.limit(base.autoencoder)
    )
    return dataclasses.replace(
        card,
        duration=base.duration if data.size == base.size else "",
        captions=captions,
        training=dataclasses.replace(card.training, images=len(training)),
        autoencoder=autoencoder,
        judges=base.judges if is_same_kind else {},
    )


def has_data(config: FinetuneRun) -> bool:
    """True if the data set of a run still exists at its path."""
    return (Path(config.data.folder) / build.BUILD_FILE).is_file()


def measured(config: FinetuneRun, sd: StableDiffusion, name: str, held_out: int) -> AutoencoderError | None:
    """The detail that the autoencoder loses of the first validation images; None without any."""
    if not held_out:
        return None
    validation = dataclasses.replace(config.data, split="val", limit=held_out)
    images = examples.load(validation, factor=sd.vae.config.factor).images
    return image_kind.measure(sd, images, name) if len(images) else None


def caption_form(attributes: Iterable[Attributes], template: Template) -> CaptionForm:
    """Form of captions in this template: findings in their order, and attributes that are always stated."""
    stated = [template.stated(each) for each in attributes]
    counts = Counter(name for each in stated for name in SLOTS if getattr(each, name) is not None)
    counts.update(name for each in stated for name in each.findings)
    findings = tuple(dict.fromkeys(name for each in stated for name in each.findings))
    always = tuple(name for name in (*SLOTS, *findings) if counts[name] == len(stated))
    return CaptionForm(
        template=template, findings=findings, always_stated=always, example=_example(stated, template, findings, always)
    )


def _example(stated: Sequence[Attributes], template: Template, findings: Sequence[str], always: Sequence[str]) -> str:
    """A caption of no patient of the data: common values, the first finding present and the others absent."""
    values = {slot: Counter(getattr(each, slot) for each in stated).most_common(1)[0][0] for slot in SLOTS}
    if values["age"] is not None:
        values["age"] = 63
    named = [name for name in findings if name in always] or findings[:3]
    return template.describe(Attributes(**values, findings={name: name == findings[0] for name in named}))
