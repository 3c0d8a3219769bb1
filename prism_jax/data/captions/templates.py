"""Caption templates: attributes as text and back, and the choice of a caption for training.

A template is a text with slots in braces; text in square brackets is left out if its slot is unknown:

    Chest X-ray of {person}[, {view} view][, with {findings}]
    Chest X-ray of a 63-year-old man, AP view, with cardiomegaly, no effusion, pacemaker, possible edema

The slots have one fixed order, so an edit changes words in place. An unmentioned finding is left out; "no"
is written only for findings that are stated to be absent. The names of findings are not fixed.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

from prism_jax.data.captions import phrases, radiology_reports
from prism_jax.data.schema import FINDING, Attributes, Example

STREAM = "captions"
SLOTS = ("person", "age", "sex", "race", "view", "findings")
EXAMPLE = Attributes(age=63, sex="M", view="AP", findings={"cardiomegaly": True, "effusion": False})
_PART = re.compile(r"\[([^\[\]]*)\]|\{(\w+)\}")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Template:
    """A caption template. `person` is age, race and sex as in "a 63-year-old man"."""

    text: str
    male: str = "male"  # word for the slot sex
    female: str = "female"
    spelling: Literal["spoken", "source"] = "spoken"  # of findings: as spoken in English, or as in the data set
    absent: str | None = "no {}"  # wording of an absent finding; None: left out
    uncertain: str | None = "possible {}"  # the same for an uncertain one
    no_finding: str | None = "no finding"  # wording of "no finding"; None: left out
    omitted: tuple[str, ...] = ()  # findings that captions never mention, as captions spell them

    def __post_init__(self):
        slots = _SLOT.findall(self.text)
        unknown = sorted(set(slots) - set(SLOTS))
        if unknown or not slots or len(set(slots)) < len(slots):
            raise ValueError(f"template {self.text!r} must have slots, each once, of {', '.join(SLOTS)}")
        if any(len(_SLOT.findall(part)) != 1 for part in re.findall(r"\[([^\[\]]*)\]", self.text)):
            raise ValueError(f"template {self.text!r} has brackets without exactly one slot in them")
        required = set(_SLOT.findall(re.sub(r"\[[^\[\]]*\]", "", self.text)))
        if required - {"person"}:
            raise ValueError(f"template {self.text!r} needs brackets around {', '.join(sorted(required))}: it may be "
                             "unknown")  # fmt: skip
        for words in (self.absent, self.uncertain):
            if words is not None and words.count("{}") != 1:
                raise ValueError(f"{words!r} must have {{}} once, for the name of a finding")

    def describe(self, attributes: Attributes) -> str:
        """The caption of an image with these attributes."""
        values = {
            "person": phrases.person(attributes),
            "age": "" if attributes.age is None else str(int(attributes.age)),
            "sex": {"M": self.male, "F": self.female, None: ""}[attributes.sex],
            "race": attributes.race or "",
            "view": attributes.view or "",
            "findings": ", ".join(filter(None, (self._say(*item) for item in attributes.findings.items()))),
        }

        def fill(part: re.Match) -> str:
            inside = part[1] if part[1] is not None else part[0]
            value = values[_SLOT.search(inside)[1]]
            return _SLOT.sub(lambda _: value, inside) if value else ""

        return _PART.sub(fill, self.text)

    def mentioning(self, names: Iterable[str]) -> Template:
        """The same template, with these findings even where it omits them."""
        mentioned = set(map(phrases.spoken, names))
        return dataclasses.replace(self, omitted=tuple(name for name in self.omitted if name not in mentioned))

    def parse(self, text: str) -> Attributes:
        """The attributes that the caption `text` states; `describe` gives the caption back, letter by letter.

        Findings have the names used in captions, ages are in completed years. A comma in a finding's name, or a
        " view, with " in a view, cannot be distinguished from the template's own.

        Raises:
          ValueError: a text that this template does not write; the message quotes the first part that does not fit.
        """
        attributes = self._read(text)
        if attributes is None or self.describe(attributes) != text:
            parts = text.split(", ")
            fitting = (n for n in range(len(parts) - 1, 0, -1) if self._writes(", ".join(parts[:n])))
            reason = f"the wording is {self.text!r}" if attributes is None else f"write {self.describe(attributes)!r}"
            raise ValueError(
                f"{parts[next(fitting, 0)] or 'nothing'!r} in the caption {text!r} is not understood: {reason}; "
                f"for example {self.describe(EXAMPLE)!r}"
            )
        return attributes

    def stated(self, attributes: Attributes) -> Attributes:
        """The part of `attributes` that their caption states: `parse(describe(attributes))`."""
        slots = set(_SLOT.findall(self.text)) | ({"age", "sex", "race"} if "{person}" in self.text else set())
        stated = {slot: getattr(attributes, slot) for slot in phrases.SLOTS if slot in slots}
        if stated.get("age") is not None:
            stated["age"] = int(stated["age"])
        spell = phrases.spoken if self.spelling == "spoken" else str
        findings = {
            name if name == FINDING and state is False else spell(name): state
            for name, state in attributes.findings.items()
            if self._say(name, state)
        }
        return Attributes(**stated, findings=findings if "findings" in slots else {})

    def _writes(self, text: str) -> bool:
        attributes = self._read(text)
        return attributes is not None and self.describe(attributes) == text

    def _read(self, text: str) -> Attributes | None:
        """The attributes by the slots of the template, not yet checked letter by letter; None where nothing fits."""
        match = re.fullmatch(self._pattern(), text)
        slots = {name: value for name, value in match.groupdict().items() if value} if match else {}
        person = phrases.read_person(slots["person"]) if "person" in slots else Attributes()
        findings = dict(map(self._read_finding, slots["findings"].split(", "))) if "findings" in slots else {}
        is_negated_twice = any(self._read_finding(f"{name} ") != (f"{name} ", True) for name in findings)
        if match is None or person is None or is_negated_twice:
            return None
        return dataclasses.replace(
            person,
            age=int(slots["age"]) if "age" in slots else person.age,
            sex={self.male: "M", self.female: "F"}[slots["sex"]] if "sex" in slots else person.sex,
            race=slots.get("race", person.race),
            view=slots.get("view"),
            findings=findings,
        )

    def _say(self, name: str, state: bool | None) -> str:
        if phrases.spoken(name) in self.omitted:
            return ""
        if name == FINDING and state is False:
            return self.no_finding or ""
        words = {True: "{}", False: self.absent, None: self.uncertain}[state]
        return words.format(phrases.spoken(name) if self.spelling == "spoken" else name) if words else ""

    def _read_finding(self, part: str) -> tuple[str, bool | None]:
        if part == self.no_finding:
            return FINDING, False
        for words, state in ((self.absent, False), (self.uncertain, None)):
            before, _, after = (words or "{}").partition("{}")
            if (before or after) and part.startswith(before) and part.endswith(after):
                return part[len(before) : len(part) - len(after)], state
        return part, True

    def _pattern(self) -> str:
        """A regular expression with a group for each slot."""
        sexes = f"{re.escape(self.male)}|{re.escape(self.female)}"
        slots = {
            "person": r"an? .*?(?:man|woman|patient)",
            "age": r"\d+",
            "sex": sexes,
            "race": rf"(?!(?:{sexes})\b)[^\W\d][^,]*?",
            "view": r"(?!with ).+?",
            "findings": r".+",
        }
        pattern, end = "", 0
        for part in _PART.finditer(self.text):
            inside = part[1] if part[1] is not None else part[0]
            before, name, after = _SLOT.split(inside, maxsplit=1)
            group = rf"{re.escape(before)}(?P<{name}>{slots[name]}){re.escape(after)}"
            pattern += re.escape(self.text[end : part.start()]) + (f"(?:{group})?" if part[1] is not None else group)
            end = part.end()
        return pattern + re.escape(self.text[end:])


PLAIN = Template(text="Chest X-ray of {person}[, {view} view][, with {findings}]")  # the wording of edits
# PRISM (Kumar et al., MIDL 2025) and its follow-up (arXiv 2503.23618): present findings only.
PRISM = Template(
    text="Chest X-ray[ showing {findings}]", spelling="source", absent=None, uncertain=None, no_finding="No Finding"
)
SUBJECT = Template(
    text="Chest X-ray of[ {age}-years old][ {race}][ {sex}] subject[ with {findings}]", absent=None, uncertain=None
)
PARAPHRASES = (
    PLAIN,
    Template(text="Chest radiograph of {person}[, {view} view][, showing {findings}]", absent="without {}"),
    Template(text="X-ray of the chest[, {view} view], of {person}[. Findings: {findings}]", uncertain="perhaps {}"),
    SUBJECT,
)

KNOWN = (*PARAPHRASES, PRISM)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """Caption templates of a training run. Edits use the template PLAIN: include it if you list several templates."""

    templates: tuple[Template, ...] = (PLAIN,)
    report_fraction: float = 0.0  # fraction of examples with a report whose caption is the report, truncated to fit
    seed: int = 0

    def __post_init__(self):
        if not self.templates:
            raise ValueError("templates must not be empty; use for example PLAIN")
        if not 0 <= self.report_fraction <= 1:
            raise ValueError(f"report_fraction must be between 0 and 1, got {self.report_fraction}")


def caption(example: Example, epoch: int = 0, *, config: CaptionConfig, fits: Callable[[str], bool]) -> str:
    """The caption of an example, sampled from `config` by example and `epoch`.

    `fits` returns whether a text fits the text encoder. A report is cut at a sentence; a caption loses findings from
    its end, absent and uncertain ones first.

    Raises:
      ValueError: a caption that does not fit even without findings.
    """
    rng = np.random.default_rng([config.seed, zlib.crc32(STREAM.encode()), example.id, epoch])
    is_report, index = rng.random() < config.report_fraction, int(rng.integers(len(config.templates)))
    report = radiology_reports.cut(example.text, fits) if is_report and example.text else ""
    return report or fitting(example.attributes, config.templates[index], fits)


def fitting(attributes: Attributes, template: Template, fits: Callable[[str], bool]) -> str:
    """The caption, without its last findings where it would be too long; absent and uncertain ones go first."""
    left = dict(attributes.findings)
    present = [name for name in left if left[name] is True]
    others = [name for name in left if left[name] is not True]
    text = template.describe(attributes)
    for name in (*reversed(others), *reversed(present)):
        if fits(text):
            return text
        del left[name]
        text = template.describe(dataclasses.replace(attributes, findings=left))
    if not fits(text):
        raise ValueError(f"the caption {text!r} is too long for the text encoder; use a shorter template")
    return text


def read(text: str, templates: Sequence[Template] = KNOWN) -> tuple[Template, Attributes]:
    """The first of `templates` that writes the caption `text`, and the attributes that it states.

    Raises:
      ValueError: a text that none of them writes; the message quotes the first part that does not fit the first one.
    """
    template = next((template for template in templates if template._writes(text)), templates[0])
    return template, template.parse(text)
