"""Source and target caption of one edit, in the form that the model was trained on."""

import dataclasses
from collections.abc import Mapping, Sequence

from prism_jax.data.captions import edit_language, phrases, templates
from prism_jax.data.captions.phrases import SLOTS
from prism_jax.data.captions.templates import Template
from prism_jax.data.schema import Attributes
from prism_jax.evaluation import model_captions
from prism_jax.model_card import CaptionForm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompts:
    """Source and target captions of an edit."""

    source: str
    target: str
    change: Mapping[str, bool | float | str | None]  # attribute -> new value; empty for a target in free text
    stated: Attributes = Attributes()  # attributes that the source states; empty for free text
    assumed: str = ""  # findings that the given caption did not state, as the source states them
    assumed_from: str = "assumed"

    @property
    def lines(self) -> list[str]:
        """Lines that describe source, target and assumed findings."""
        lines = [f"from: {self.source}", f"to:   {self.target}"]
        if self.assumed:
            lines.append(f"not stated in the prompt, {self.assumed_from}: {self.assumed}")
        return lines


def from_requests(
    prompt: str, requests: Sequence[str], form: CaptionForm, predicted: Mapping[str, float] | None = None
) -> Prompts:
    """The captions of an edit by requests such as "remove pacemaker" or "set age=40".

    Args:
      prompt: a caption in one of the known templates; completed as `model_captions.complete` says.
      predicted: probability of findings in the image, for those that the caption does not state.

    Raises:
      ValueError: a caption that no template reads or that lacks what cannot be filled in, a word that the model's
        captions do not have, or a request that changes nothing.
    """
    template, stated = read(prompt, form)
    asked = [each for each in edit_language.parse(", ".join(requests)) if isinstance(each.value, bool)]
    implied = {model_captions.rename(each.name, form.findings): not each.value for each in asked}
    attributes, assumed = model_captions.complete(stated, form, predicted, implied)
    requested = edit_language.read(", ".join(requests), attributes)
    stays = lambda name: name in SLOTS or name in attributes.findings
    rename = lambda name: name if stays(name) else model_captions.rename(name, form.findings)
    change = {rename(name): value for name, value in requested.items()}
    return Prompts(
        source=template.describe(attributes),
        target=template.mentioning(change).describe(phrases.changed(attributes, change)),
        change=change,
        stated=attributes,
        assumed=", ".join(name if state else f"no {name}" for name, state in assumed.items()),
        assumed_from="assumed" if predicted is None else "taken from the image by the model's judges",
    )


def from_texts(source: str, target: str, form: CaptionForm) -> Prompts:
    """Two captions, unchanged; the changed attributes are known if both follow known templates."""
    try:
        before, after = (read(text, form)[1] for text in (source, target))
    except ValueError:
        return Prompts(source=source, target=target, change={})
    slots = {slot: getattr(after, slot) for slot in SLOTS if getattr(after, slot) != getattr(before, slot)}
    findings = {name: state for name, state in after.findings.items() if before.findings.get(name) is not state}
    return Prompts(source=source, target=target, change=slots | findings, stated=before)


def read(prompt: str, form: CaptionForm) -> tuple[Template, Attributes]:
    """The template to write captions in, and what `prompt` states. Raises ValueError where no template reads it."""
    template, attributes = templates.read(prompt, (form.template, *templates.KNOWN))
    return (form.template if form.findings else template), attributes
