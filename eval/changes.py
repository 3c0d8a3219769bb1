"""The edits that an evaluation makes, and the subjects that it makes them of."""

import dataclasses
from collections.abc import Sequence

from prism_jax import editing
from prism_jax.data import captions, schema


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One attribute set to one value, and how strongly the picture is held to the source meanwhile."""

    attribute: str
    """A finding, or age, sex or view."""
    value: bool | float | str
    """True (add the finding), False (take it away), or the new age, sex or view."""
    cross_steps: float = 0.8
    """Share of the steps in which words look where the source's words looked."""
    self_steps: float = 0.5
    """Share of the steps that keep the source's spatial layout."""
    weight: float = 1.0
    """Factor on the attention to the words that changed."""
    blend: float | None = 0.3
    """Threshold of the local blend on the changed words, or None: the whole picture may change."""

    @property
    def name(self) -> str:
        spoken = captions.spoken(self.attribute)
        if isinstance(self.value, bool):
            return f"{'add' if self.value else 'remove'} {spoken}"
        return f"set {spoken} to {self.value:g}" if isinstance(self.value, float) else f"set {spoken} to {self.value}"

    def applies(self, attributes: schema.Attributes) -> bool:
        """Whether the attribute is known and has another value."""
        known = {"age": attributes.age, "sex": attributes.sex, "view": attributes.view, **attributes.findings}
        return known.get(self.attribute) not in (None, self.value)

    def edit(self, attributes: schema.Attributes) -> editing.Edit:
        """The edit of an image with these attributes, whose source prompt is its caption."""
        prompt = captions.edited(attributes, {self.attribute: self.value})
        source = captions.describe(attributes)
        gone, new = _differing(source, prompt), _differing(prompt, source)
        is_finding = isinstance(self.value, bool)
        spoken = (captions.spoken(self.attribute),) if is_finding else ()
        return editing.Edit(
            prompt=prompt,
            cross_steps=self.cross_steps,
            self_steps=self.self_steps,
            reweight=dict.fromkeys(new or spoken, self.weight) if self.weight != 1 else None,
            blend=None
            if self.blend is None
            else editing.Blend(words=spoken or gone, edit_words=spoken or new, threshold=self.blend),
        )


def _differing(text: str, other: str) -> tuple[str, ...]:
    """Words of `text` that `other` lacks, without the punctuation around them."""
    there = other.split()
    return tuple(word.strip(",.") for word in text.split() if word not in there)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """One image and the changes that are made of it, as numbers into the list of all changes."""

    example: schema.Example
    changes: tuple[int, ...]


def choose(examples: Sequence[schema.Example], changes: Sequence[Change], per_change: int) -> list[Subject]:
    """For each change the first `per_change` examples it applies to; never chosen by looks.

    Raises:
      ValueError: a change that applies to no example.
    """
    left = dict.fromkeys(range(len(changes)), per_change)
    chosen = []
    for i in range(len(examples)):
        if not any(left.values()):
            break
        example = examples[i]
        wanted = tuple(k for k in left if left[k] and changes[k].applies(example.attributes))
        for k in wanted:
            left[k] -= 1
        if wanted:
            chosen.append(Subject(example=example, changes=wanted))
    unused = [change.name for k, change in enumerate(changes) if left[k] == per_change]
    if unused:
        raise ValueError(f"no image of the split can be used to {', '.join(unused)}; check attribute names and values")
    return chosen
