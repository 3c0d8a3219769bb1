"""Wording of single attributes in captions (findings, persons), and attributes after a change.

    a 63-year-old man, an 8-year-old Asian woman, a patient

Whole captions are in templates.py.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from prism_jax.data.schema import Attributes

PERSONS = {"M": "man", "F": "woman", None: "patient"}
SLOTS = ("age", "sex", "view", "race")

_RACE = r"[^\W\d][^,]*?"
_PERSON = re.compile(rf"an? (?:([0-9]+)-year-old )?(?:({_RACE}) )?({'|'.join(PERSONS.values())})")


def changed(attributes: Attributes, change: Mapping[str, object]) -> Attributes:
    """The attributes after `change`, for example `{"pacemaker": False}` or `{"age": 80}`.

    Keys are `age`, `sex`, `view`, `race` or a finding (`support_lines` and "support lines" are the same). A
    finding keeps its slot; one that was not mentioned is appended. The value None means: no longer mentioned.
    """
    slots = {key: value for key, value in change.items() if key in SLOTS}
    findings = dict(attributes.findings)
    stored = {spoken(name): name for name in findings}
    for name, present in change.items():
        if name in slots:
            continue
        if present not in (True, False, None):
            raise ValueError(f"{name} must be True (present), False (absent) or None (not mentioned), got {present!r}")
        key = stored.get(spoken(name), name)
        if present is None:
            findings.pop(key, None)
        else:
            findings[key] = bool(present)
    return dataclasses.replace(attributes, **slots, findings=findings)


def spoken(name: str) -> str:
    """A finding's name as captions spell it: lower case, underscores as spaces."""
    return " ".join(name.replace("_", " ").lower().split())


def person(attributes: Attributes) -> str:
    """Age, race and sex in words: "a 63-year-old man"; ages in completed years."""
    words = [f"{int(attributes.age)}-year-old"] if attributes.age is not None else []
    words += [attributes.race] if attributes.race else []
    words += [PERSONS[attributes.sex]]
    return f"{_article(words[0])} {' '.join(words)}"


def read_person(text: str) -> Attributes | None:
    """Age, race and sex read from a text that `person` wrote; None for any other text."""
    match = _PERSON.fullmatch(text)
    if match is None:
        return None
    years, race, noun = match.groups()
    sex = next(key for key, word in PERSONS.items() if word == noun)
    return Attributes(age=int(years) if years else None, sex=sex, race=race)


def _article(word: str) -> str:
    number = word.partition("-")[0]
    if number.isdigit():
        return "an" if number in ("8", "11", "18") or 80 <= int(number) <= 89 else "a"
    return "an" if word[:1].lower() in "aeiou" else "a"
