"""The edits that an evaluation makes."""

import dataclasses

from prism_jax import editing
from prism_jax.data import captions, instructions, schema
from prism_jax.data.templates import PLAIN, Template


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """An edit in words, and how strongly the picture is held to the source meanwhile."""

    edit: str
    """What to change: "remove pacemaker", "set age 40, add effusion"; see prism_jax/data/instructions.py."""
    cross_steps: float = 0.8
    """Share of the steps in which words look where the source's words looked."""
    self_steps: float = 0.5
    """Share of the steps that keep the source's spatial layout."""
    weight: float = 1.0
    """Factor on the attention to the words that changed."""
    blend: float | None = 0.3
    """Threshold of the local blend on the changed words, or None: the whole picture may change."""

    def __post_init__(self):
        instructions.parse(self.edit)  # wrong words fail here

    @property
    def name(self) -> str:
        return ", ".join(map(str, instructions.parse(self.edit)))

    @property
    def is_removal(self) -> bool:
        """Whether findings are only taken away."""
        return all(instruction.value is False for instruction in instructions.parse(self.edit))

    def applies(self, attributes: schema.Attributes) -> bool:
        """Whether every attribute that is to change is known for certain and has another value."""
        parts = instructions.parse(self.edit)
        return all(part.is_known(attributes) and part.has_effect(attributes) for part in parts)

    def values(self, attributes: schema.Attributes) -> dict[str, bool | float | str | None]:
        """The new values of an image with these attributes, by the names that they have there."""
        return instructions.read(self.edit, attributes)

    def prompt(self, attributes: schema.Attributes, wording: Template = PLAIN) -> str:
        """The edited caption of an image with these attributes."""
        return wording.describe(captions.changed(attributes, self.values(attributes)))

    def edit_of(self, attributes: schema.Attributes, wording: Template = PLAIN) -> editing.Edit:
        """The edit of an image with these attributes, whose source prompt is its caption.

        Raises:
          ValueError: captions in this wording do not say what is to change.
        """
        source, target = wording.describe(attributes), self.prompt(attributes, wording)
        if source == target:
            raise ValueError(f"{self.name}: captions worded {wording.text!r} do not say it; {source!r} stays as it is")
        return editing.edit_between(
            source,
            target,
            cross_steps=self.cross_steps,
            self_steps=self.self_steps,
            weight=self.weight,
            blend=self.blend,
        )
