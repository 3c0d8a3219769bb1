"""Edit instructions in plain English: "remove the pacemaker, set age to 40 and add an enlarged heart".

    remove X, without X, no X    the caption reads "no X"
    add X, with X                the caption reads "X"
    drop X, unmention X          the caption does not mention X (a finding, or age, sex, view, race)
    set age 40, set sex=woman, set view to PA, set race to Asian

Instructions are separated by commas, semicolons or "and", so names and values cannot contain these. An instruction
without a verb takes the previous verb: "remove pacemaker and effusion". A synonym of a finding is replaced by its name
in the caption.
"""

from __future__ import annotations

import dataclasses
import re

from prism_jax.data.captions import phrases, synonyms
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.schema import FINDING, Attributes

EXAMPLE = "remove pacemaker, set age 40"
VALUES = {"remove": False, "without": False, "with no": False, "no": False, "add": True, "with": True}
VERBS = (*VALUES, "drop", "unmention", "set")
SEXES = {"m": "M", "man": "M", "male": "M", "f": "F", "woman": "F", "female": "F"}
MAX_AGE = 120  # years
DEVICES = ("endotracheal tube", "nasogastric tube", "pacemaker", "support devices")  # main names of devices

_SEPARATOR = re.compile(r"[,;]|\band\b", re.IGNORECASE)
_VERB = re.compile(rf"({'|'.join(sorted(VERBS, key=len, reverse=True))})(?:\s+|$)", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:an?|the|any)\s+(?=\S)", re.IGNORECASE)
_SETTING = re.compile(r"(\w+)(?:\s*=\s*|\s+to\s+|\s+)(.+)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One attribute and its new value."""

    name: str  # one of phrases.SLOTS, or a finding as written, perhaps a synonym
    value: bool | float | str | None  # see `phrases.changed`

    def __str__(self) -> str:
        if self.value is None:
            return f"drop {self.name}"
        if isinstance(self.value, bool):
            return f"{'add' if self.value else 'remove'} {self.name}"
        value = f"{self.value:g}" if isinstance(self.value, float) else self.value
        return f"set {self.name} to {value}"

    def is_stated(self, attributes: Attributes) -> bool:
        """True if a caption of `attributes` mentions the attribute."""
        if self.name in phrases.SLOTS:
            return getattr(attributes, self.name) is not None
        return synonyms.find(self.name, attributes.findings) is not None

    def is_known(self, attributes: Attributes) -> bool:
        """True if `attributes` state the attribute with certainty."""
        if self.name in phrases.SLOTS:
            return self.is_stated(attributes)
        name = synonyms.find(self.name, attributes.findings)
        return name is not None and attributes.findings[name] is not None

    def change(self, attributes: Attributes) -> dict[str, bool | float | str | None]:
        """The change for `phrases.changed`, under the attribute's name in `attributes`."""
        name = None if self.name in phrases.SLOTS else synonyms.find(self.name, attributes.findings)
        return {name or synonyms.main_name(self.name): self.value}

    def has_effect(self, attributes: Attributes) -> bool:
        """True if the caption changes in more than capitals."""
        before, after = PLAIN.describe(attributes), PLAIN.describe(phrases.changed(attributes, self.change(attributes)))
        return before.casefold() != after.casefold()


def parse(text: str) -> tuple[Instruction, ...]:
    """The instructions in `text`, independent of a caption.

    Raises:
      ValueError: no instruction, one without a verb, a verb without a name, or an invalid value.
    """
    verb, instructions = None, []
    for part in _SEPARATOR.split(text):
        part = " ".join(part.split())
        begins = _VERB.match(part)
        verb = begins[1].lower() if begins else verb
        words = part[begins.end() :] if begins else part
        if not part and instructions:
            continue  # a comma before "and", or at the end
        if not verb or not words:
            raise ValueError(f"no instruction in {part or text!r}; begin with {', '.join(VERBS)}: {EXAMPLE!r}")
        instructions.append(_setting(words) if verb == "set" else _mention(verb, words))
    return tuple(instructions)


def read(text: str, attributes: Attributes) -> dict[str, bool | float | str | None]:
    """The change that `text` describes, for `phrases.changed`: `{"pacemaker": False, "age": 40.0}`.

    A finding that the caption does not mention can be added, under its main name. "no finding" is dropped
    from the caption when anything but a device is added.

    Raises:
      ValueError: invalid instructions, a name twice, an attribute that the caption does not mention, or no change.
    """
    change = {}
    for instruction in parse(text):
        must_be_stated = instruction.value is False or instruction.value is None  # 0.0 is an age
        if must_be_stated and not instruction.is_stated(attributes):
            raise ValueError(_unmentioned(instruction, attributes))
        one = instruction.change(attributes)
        if one.keys() & change.keys():
            raise ValueError(f"{phrases.spoken(*one)} is named twice in {text!r}; name it once")
        if not instruction.has_effect(attributes):
            caption = PLAIN.describe(attributes)
            raise ValueError(f"nothing to change: '{instruction}' leaves the caption {caption!r} as it is")
        change |= one
    added = [name for name, value in change.items() if value is True and synonyms.main_name(name) not in DEVICES]
    if added and attributes.findings.get(FINDING) is False:
        change.setdefault(FINDING, None)
    return change


def _mention(verb: str, words: str) -> Instruction:
    name = phrases.spoken(_ARTICLE.sub("", words))
    if verb in VALUES and name in phrases.SLOTS:
        raise ValueError(f"{verb} {name!r} is not possible; write 'set {name} ...', or 'drop {name}' to leave it out")
    if name.startswith("no "):
        raise ValueError(f"{verb} {name!r} negates twice or not at all; write 'remove {name[3:]}' or 'add {name[3:]}'")
    return Instruction(name, VALUES.get(verb))


def _setting(words: str) -> Instruction:
    match = _SETTING.fullmatch(words)
    name, written = (match[1].lower(), match[2]) if match else ("", "")
    if name not in phrases.SLOTS:
        raise ValueError(
            f"'set {words}' is not understood; set {', '.join(phrases.SLOTS)}: 'set age 40', 'set sex=woman'"
        )
    if name == "age":
        return Instruction(name, _age(written))
    if name == "sex" and written.lower() not in SEXES:
        raise ValueError(f"sex must be one of {', '.join(SEXES)}, got {written!r}")
    return Instruction(name, SEXES[written.lower()] if name == "sex" else written.removesuffix(" view"))


def _age(written: str) -> float:
    try:
        age = float(written)
    except ValueError:
        age = -1.0
    if not 0 <= age <= MAX_AGE:
        raise ValueError(f"age must be between 0 and {MAX_AGE} years, got {written!r}")
    return age


def _unmentioned(instruction: Instruction, attributes: Attributes) -> str:
    slots = [slot for slot in phrases.SLOTS if getattr(attributes, slot) is not None]
    mentioned = ", ".join([*slots, *map(phrases.spoken, attributes.findings)]) or "nothing"
    remedy = f"if the image shows {instruction.name}, say so in the caption"
    return f"cannot {instruction}: the caption mentions {mentioned}, not {instruction.name}; {remedy}"
