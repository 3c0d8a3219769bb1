"""Captions from attributes and back, in one fixed slot order so that an edit changes words in place.

    Chest X-ray of a 63-year-old man, AP view, with cardiomegaly, no effusion, pacemaker, no support lines

An unknown slot is left out, a finding nobody mentioned too; nothing here knows the names of findings.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from prism_jax.data.schema import Attributes

PERSONS = {"M": "man", "F": "woman", None: "patient"}
START = "Chest X-ray of "
EXAMPLE = "Chest X-ray of a 63-year-old man, AP view, with cardiomegaly, no effusion"

_PERSON = re.compile(rf"an? (?:([0-9]+)-year-old )?({'|'.join(PERSONS.values())})(?=,|$)")
_CLAUSES = re.compile(r"(?:, (?!with )(.+?) view(?=, with |$))?(?:, with (.+))?")  # each may be missing


def describe(attributes: Attributes) -> str:
    """The caption of an image with these attributes."""
    years = None if attributes.age is None else int(attributes.age)  # completed years, as people state their age
    clauses = [f"{START}{_person(PERSONS[attributes.sex], years)}"]
    if attributes.view:
        clauses.append(f"{attributes.view} view")
    stated = [spoken(name) if present else f"no {spoken(name)}" for name, present in attributes.findings.items()]
    if stated:
        clauses.append("with " + ", ".join(stated))
    return ", ".join(clauses)


def parse(text: str) -> Attributes:
    """What the caption `text` states; `describe` gives the same caption back, letter by letter.

    Findings come under the names that captions say, ages in completed years. A comma in a finding's name, or a
    " view, with " in a view, cannot be told from the caption's own.

    Raises:
      ValueError: a text that `describe` does not write; the message quotes the first part that does not fit.
    """
    if not text.startswith(START):
        raise _unread(text, text[: len(START)], f"it must begin with {START.strip()!r}")
    body = text.removeprefix(START)
    person = _PERSON.match(body)
    if person is None:
        raise _unread(text, body.partition(",")[0], "it must be a man, a woman or a patient, with or without an age")
    years, noun = int(person[1]) if person[1] else None, person[2]
    if person.group() != _person(noun, years):
        raise _unread(text, person.group(), f"write {_person(noun, years)!r}")
    rest = body[person.end() :]
    clauses = _CLAUSES.match(rest)
    if clauses.end() < len(rest):
        raise _unread(text, rest[clauses.end() :].removeprefix(", "), "a view ends with 'view', findings follow 'with'")
    view, findings = clauses.groups()
    sex = next(key for key, word in PERSONS.items() if word == noun)
    return Attributes(age=years, sex=sex, view=view, findings=_findings(text, findings))


def _findings(text: str, listed: str | None) -> dict[str, bool]:
    findings = {}
    for part in listed.split(", ") if listed else ():
        name = part.removeprefix("no ")
        if not name or name != spoken(name) or f"{name} ".startswith("no "):
            raise _unread(text, part, "a finding is written in small letters, after 'no' where it is absent")
        if name in findings:
            raise _unread(text, part, f"{name} is stated twice")
        findings[name] = name == part
    return findings


def _unread(text: str, part: str, reason: str) -> ValueError:
    return ValueError(
        f"{part or 'nothing'!r} in the caption {text!r} is not understood: {reason}; for example {EXAMPLE!r}"
    )


def changed(attributes: Attributes, change: Mapping[str, object]) -> Attributes:
    """The attributes after `change`, for example `{"pacemaker": False}` or `{"age": 80}`.

    Keys are `age`, `sex`, `view` or a finding (`support_lines` and "support lines" are the same). A finding
    keeps its slot; one that was not mentioned is appended. The value None means: no longer known.
    """
    slots = {key: value for key, value in change.items() if key in ("age", "sex", "view")}
    findings = dict(attributes.findings)
    stored = {spoken(name): name for name in findings}
    for name, present in change.items():
        if name in slots:
            continue
        if present not in (True, False, None):
            raise ValueError(f"{name} {present!r} is not True (present), False (absent) or None (unknown)")
        key = stored.get(spoken(name), name)
        if present is None:
            findings.pop(key, None)
        else:
            findings[key] = bool(present)
    return dataclasses.replace(attributes, **slots, findings=findings)


def edited(attributes: Attributes, change: Mapping[str, object]) -> str:
    """The caption after a change of attribute values; see `changed`."""
    return describe(changed(attributes, change))


def spoken(name: str) -> str:
    """A finding's name as captions say it: lower case, underscores as spaces."""
    return " ".join(name.replace("_", " ").lower().split())


def _person(noun: str, years: int | None) -> str:
    return f"a {noun}" if years is None else f"{_article(years)} {years}-year-old {noun}"


def _article(number: int) -> str:
    return "an" if number in (8, 11, 18) or 80 <= number <= 89 else "a"
