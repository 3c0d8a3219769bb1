"""Captions from attributes and back, in one fixed slot order so that an edit changes words in place.

    Chest X-ray of a 63-year-old man, AP view, with cardiomegaly, no effusion, pacemaker, possible edema

An unknown slot is left out, a finding nobody mentioned too; "no" is said only of what is stated to be absent.
Nothing here knows the names of findings. Other wordings are in templates.py.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from prism_jax.data.schema import Attributes

PERSONS = {"M": "man", "F": "woman", None: "patient"}
START = "Chest X-ray of "
EXAMPLE = "Chest X-ray of a 63-year-old man, AP view, with cardiomegaly, no effusion"

SLOTS = ("age", "sex", "view", "race")
STATES = {True: "{}", False: "no {}", None: "possible {}"}  # of a finding

_RACE = r"[^\W\d][^,]*?"
_PERSON = re.compile(rf"an? (?:([0-9]+)-year-old )?(?:({_RACE}) )?({'|'.join(PERSONS.values())})(?=,|$)")
_CLAUSES = re.compile(r"(?:, (?!with )(.+?) view(?=, with |$))?(?:, with (.+))?")  # each may be missing


def describe(attributes: Attributes) -> str:
    """The caption of an image with these attributes."""
    clauses = [f"{START}{person(attributes)}"]
    if attributes.view:
        clauses.append(f"{attributes.view} view")
    stated = [STATES[state].format(spoken(name)) for name, state in attributes.findings.items()]
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
    subject = read_person(body)
    if subject is None:
        raise _unread(text, body.partition(",")[0], "it must be a man, a woman or a patient, with or without an age")
    known, end = subject
    if body[:end] != person(known):
        raise _unread(text, body[:end], f"write {person(known)!r}")
    clauses = _CLAUSES.match(body[end:])
    if clauses.end() < len(body[end:]):
        rest = body[end:][clauses.end() :].removeprefix(", ")
        raise _unread(text, rest, "a view ends with 'view', findings follow 'with'")
    view, findings = clauses.groups()
    return dataclasses.replace(known, view=view, findings=_findings(text, findings))


def stated(attributes: Attributes) -> Attributes:
    """What a caption of these attributes says of them: completed years, names as captions say them."""
    return dataclasses.replace(
        attributes,
        age=None if attributes.age is None else int(attributes.age),
        findings={spoken(name): state for name, state in attributes.findings.items()},
    )


def _findings(text: str, listed: str | None) -> dict[str, bool | None]:
    findings = {}
    for part in listed.split(", ") if listed else ():
        name, state = read_finding(part)
        if not name or name != spoken(name) or read_finding(name)[1] is not True:
            raise _unread(text, part, "a finding is written in small letters, after 'no' where it is absent")
        if name in findings:
            raise _unread(text, part, f"{name} is stated twice")
        findings[name] = state
    return findings


def read_finding(part: str) -> tuple[str, bool | None]:
    """(name, state) of a finding as a caption states it: "no edema" is ("edema", False)."""
    for state in (False, None):
        before = STATES[state].partition("{}")[0]
        if f"{part} ".startswith(before):
            return part.removeprefix(before), state
    return part, True


def _unread(text: str, part: str, reason: str) -> ValueError:
    return ValueError(
        f"{part or 'nothing'!r} in the caption {text!r} is not understood: {reason}; for example {EXAMPLE!r}"
    )


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
            raise ValueError(f"{name} {present!r} is not True (present), False (absent) or None (not mentioned)")
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


def person(attributes: Attributes) -> str:
    """Age, race and sex as captions say them: "a 63-year-old man"; ages in completed years, as people state them."""
    words = [f"{int(attributes.age)}-year-old"] if attributes.age is not None else []
    words += [attributes.race] if attributes.race else []
    words += [PERSONS[attributes.sex]]
    return f"{_article(words[0])} {' '.join(words)}"


def read_person(text: str) -> tuple[Attributes, int] | None:
    """What the person at the start of `text` is said to be, and where its words end; None where there is none."""
    found = _PERSON.match(text)
    if found is None:
        return None
    years, race, noun = found.groups()
    sex = next(key for key, word in PERSONS.items() if word == noun)
    return Attributes(age=int(years) if years else None, sex=sex, race=race), found.end()


def _article(word: str) -> str:
    number = word.partition("-")[0]
    if number.isdigit():
        return "an" if number in ("8", "11", "18") or 80 <= int(number) <= 89 else "a"
    return "an" if word[:1].lower() in "aeiou" else "a"
