"""The edits that an evaluation makes, and placebos, which should change nothing."""

import dataclasses
import re

from prism_jax import editing, model_card
from prism_jax.data import schema
from prism_jax.data.captions import edit_language, phrases, synonyms
from prism_jax.data.captions.templates import PLAIN, Template
from prism_jax.model_card import EditDefaults

REPEAT = "repeat the caption"  # the null edit: the same prompt again
_SAY = re.compile(r"say\s+(?P<words>[^\W\d][^,;]*)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditSpec:
    """An edit in words, and how strongly the picture is held to the source meanwhile."""

    edit: str
    """What to change: "remove pacemaker", "set age 40, add effusion"; see prism_jax/data/captions/edit_language.py.
    Placebos: "repeat the caption", and "say WORDS": a synonym in the place of a finding, any other words at the
    caption's end."""
    cross_steps: float | None = None
    """Fraction of the steps that reuse the source's cross-attention maps (prompt-to-prompt `cross_replace_steps`).
    None, here and below: what the model card says."""
    self_steps: float | None = None
    """Fraction of the steps that reuse the source's self-attention, and with it the spatial layout."""
    weight: float | None = None
    """Factor on the attention to the words that changed."""
    blend: float | None = None
    """Threshold of the local blend on the changed words; 0: the whole image may change."""
    guidance: float | None = None
    """Of the edit; None: that of the inversion."""
    strength: str = ""
    """Tells strengths of one edit apart, where there are several: "weak", "strong"; part of the name."""

    def __post_init__(self):
        if not self.is_negative_control:
            edit_language.parse(self.edit)  # wrong words fail here

    @property
    def name(self) -> str:
        return f"{self.words} ({self.strength})" if self.strength else self.words

    @property
    def words(self) -> str:
        """What is changed, in one spelling, whatever the strength."""
        if self.is_negative_control:
            return f"say {self._said}" if self._said else REPEAT
        return ", ".join(map(str, edit_language.parse(self.edit)))

    @property
    def is_negative_control(self) -> bool:
        """Whether the picture should stay as it is."""
        return self.edit == REPEAT or self._said is not None

    @property
    def is_removal(self) -> bool:
        """Whether findings are only taken away."""
        if self.is_negative_control:
            return False
        return all(instruction.value is False for instruction in edit_language.parse(self.edit))

    def applies(self, attributes: schema.Attributes) -> bool:
        """Whether every attribute that is to change is known for certain and has another value.

        A placebo applies wherever the caption does not say its words already.
        """
        if self.is_negative_control:
            return self._said not in map(phrases.spoken, attributes.findings)
        parts = edit_language.parse(self.edit)
        return all(part.is_known(attributes) and part.has_effect(attributes) for part in parts)

    def values(self, attributes: schema.Attributes) -> dict[str, bool | float | str | None]:
        """The new values of an image with these attributes, by the names that they have there; a placebo has none."""
        return {} if self.is_negative_control else edit_language.read(self.edit, attributes)

    def prompt(self, attributes: schema.Attributes, wording: Template = PLAIN) -> str:
        """The edited caption of an image with these attributes. What changes is said even where wordings omit it."""
        if self._said:
            return wording.describe(_saying(self._said, attributes))
        values = self.values(attributes)
        return wording.mentioning(values).describe(phrases.changed(attributes, values))

    def with_defaults(self, defaults: EditDefaults) -> "EditSpec":
        """The same edit with the strengths it leaves open as a model card states them."""
        return model_card.filled(self, defaults, ("cross_steps", "self_steps", "weight", "blend"))

    def edit_of(self, attributes: schema.Attributes, wording: Template = PLAIN) -> editing.Edit:
        """The edit of an image with these attributes, whose source prompt is its caption.

        Raises:
          ValueError: captions in this wording do not say what is to change.
        """
        source, target = wording.describe(attributes), self.prompt(attributes, wording)
        spec = self.with_defaults(EditDefaults())
        strengths = dict(cross_steps=spec.cross_steps, self_steps=spec.self_steps)
        if self.edit == REPEAT:  # no word differs that could be weighted, or that a blend could look for
            return editing.Edit(prompt=target, guidance=self.guidance, **strengths)
        if source == target:
            raise ValueError(f"{self.name}: captions worded {wording.text!r} do not say it; {source!r} stays as it is")
        made = editing.edit_between(source, target, weight=spec.weight, blend=spec.blend or None, **strengths)
        return dataclasses.replace(made, guidance=self.guidance)

    @property
    def _said(self) -> str | None:
        found = _SAY.fullmatch(self.edit.strip())
        return phrases.spoken(found["words"]) if found else None


def _saying(words: str, attributes: schema.Attributes) -> schema.Attributes:
    """The attributes with a finding under this other name, or, where it is no synonym of one, with one more."""
    known = synonyms.find(words, attributes.findings)
    if known is None:
        return dataclasses.replace(attributes, findings={**attributes.findings, words: True})
    renamed = {words if name == known else name: state for name, state in attributes.findings.items()}
    return dataclasses.replace(attributes, findings=renamed)
