"""Edits of an evaluation, and negative controls, which should change nothing."""

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
    """One edit in words, with its strengths."""

    edit: str
    """What to change: "remove pacemaker", "set age 40, add effusion"; see prism_jax/data/captions/edit_language.py.
    Negative controls (placebos): "repeat the caption", and "say WORDS", which replaces a finding by a synonym, or
    appends any other words to the caption."""
    cross_steps: float | None = None
    """Fraction of the steps that reuse the source's cross-attention maps (prompt-to-prompt `cross_replace_steps`).
    None, here and below: that of the model card."""
    self_steps: float | None = None
    """Fraction of the steps that reuse the source's self-attention, and with it the spatial layout."""
    weight: float | None = None
    """Factor on the attention to the changed words."""
    blend: float | None = None
    """Threshold of the local blend on the changed words; 0: the whole image may change."""
    guidance: float | None = None
    """Guidance of the edit; None: that of the inversion."""
    strength: str = ""
    """Distinguishes several strengths of one edit: "weak", "strong"; part of the name."""

    def __post_init__(self):
        if not self.is_negative_control:
            edit_language.parse(self.edit)  # wrong words fail here

    @property
    def name(self) -> str:
        return f"{self.words} ({self.strength})" if self.strength else self.words

    @property
    def words(self) -> str:
        """The edit in canonical spelling, without its strength."""
        if self.is_negative_control:
            return f"say {self._said}" if self._said else REPEAT
        return ", ".join(map(str, edit_language.parse(self.edit)))

    @property
    def is_negative_control(self) -> bool:
        """True if the edit is a negative control, which should leave the image unchanged."""
        return self.edit == REPEAT or self._said is not None

    @property
    def is_removal(self) -> bool:
        """True if the edit only removes findings."""
        if self.is_negative_control:
            return False
        return all(instruction.value is False for instruction in edit_language.parse(self.edit))

    def applies(self, attributes: schema.Attributes) -> bool:
        """True if every edited attribute is known with certainty and has another value. A negative control applies if
        the caption does not contain its words yet.
        """
        if self.is_negative_control:
            return self._said not in map(phrases.spoken, attributes.findings)
        parts = edit_language.parse(self.edit)
        return all(part.is_known(attributes) and part.has_effect(attributes) for part in parts)

    def values(self, attributes: schema.Attributes) -> dict[str, bool | float | str | None]:
        """The new values by attribute, under the names of `attributes`; empty for a negative control."""
        return {} if self.is_negative_control else edit_language.read(self.edit, attributes)

    def prompt(self, attributes: schema.Attributes, wording: Template = PLAIN) -> str:
        """The edited caption; edited attributes are stated even where the template omits them."""
        if words := self._said:  # in place of a finding that they are a synonym of, else as a finding of their own
            synonym = synonyms.find(words, attributes.findings)
            renamed = {words if name == synonym else name: state for name, state in attributes.findings.items()}
            return wording.describe(
                dataclasses.replace(attributes, findings={**renamed, words: renamed.get(words, True)})
            )
        values = self.values(attributes)
        return wording.mentioning(values).describe(phrases.changed(attributes, values))

    def with_defaults(self, defaults: EditDefaults) -> "EditSpec":
        """The edit with strengths that are None replaced by the model card's values."""
        return model_card.filled(self, defaults, ("cross_steps", "self_steps", "weight", "blend"))

    def edit_of(self, attributes: schema.Attributes, wording: Template = PLAIN) -> editing.Edit:
        """The edit of an image with these attributes, whose source prompt is its caption.

        Raises:
          ValueError: captions of this template do not state the edited attribute.
        """
        source, target = wording.describe(attributes), self.prompt(attributes, wording)
        spec = self.with_defaults(EditDefaults())
        strengths = dict(cross_steps=spec.cross_steps, self_steps=spec.self_steps)
        if self.edit == REPEAT:  # no changed word to weight or to blend on
            return editing.Edit(prompt=target, guidance=self.guidance, **strengths)
        if source == target:
            raise ValueError(f"{self.name}: captions worded {wording.text!r} do not say it; {source!r} stays as it is")
        edit = editing.edit_between(source, target, weight=spec.weight, blend=spec.blend or None, **strengths)
        return dataclasses.replace(edit, guidance=self.guidance)

    @property
    def _said(self) -> str | None:
        match = _SAY.fullmatch(self.edit.strip())
        return phrases.spoken(match["words"]) if match else None
