"""Conversion of captions to the form of a model's training captions: its names of findings, their order, all
findings."""

import dataclasses
from collections.abc import Mapping, Sequence

from prism_jax.data.captions import synonyms
from prism_jax.data.captions.phrases import SLOTS, spoken
from prism_jax.data.schema import Attributes
from prism_jax.model_card import CaptionForm


def complete(
    attributes: Attributes,
    form: CaptionForm,
    predicted: Mapping[str, float] | None = None,
    implied: Mapping[str, bool] | None = None,
) -> tuple[Attributes, dict[str, bool]]:
    """Renames, orders and adds findings so that a caption of the result reads as those of the training data.

    Returns the attributes, and the findings that the caption did not state with the state they were given.

    Args:
      predicted: probability of findings in the image; one that the caption does not state is present from 0.5 on, and
        absent without a probability.
      implied: states that follow from what is asked for, which come before those: what is to be removed is there.

    Raises:
      ValueError: a finding that the model's captions have no word for, or age, sex, view or race missing where they
        always state it.
    """
    given = {rename(name, form.findings): state for name, state in attributes.findings.items()}
    slots = [name for name in form.always_stated if name in SLOTS]
    if missing := [name for name in slots if getattr(attributes, name) is None]:
        raise ValueError(
            f"the caption does not state {' and '.join(missing)}; captions of this model always state "
            f"{', '.join(slots)}: {form.example!r}"
        )
    required = [name for name in form.findings if name in form.always_stated and name not in given]
    probabilities = {spoken(name): probability for name, probability in (predicted or {}).items()}
    assumed = {name: probabilities.get(spoken(name), 0.0) >= 0.5 for name in required}
    assumed |= {name: state for name, state in (implied or {}).items() if name in assumed}
    stated = given | assumed
    order = [name for name in form.findings if name in stated]
    findings = {name: stated[name] for name in (*order, *(name for name in stated if name not in order))}
    return dataclasses.replace(attributes, findings=findings), assumed


def rename(name: str, vocabulary: Sequence[str]) -> str:
    """The model's name for a finding. Raises ValueError if it has none; without a vocabulary all names are accepted."""
    if not vocabulary:
        return name
    word = synonyms.find(name, vocabulary)
    if word is None:
        raise ValueError(f"this model has no word for {spoken(name)}; its captions know {', '.join(vocabulary)}")
    return word
