"""Captions from attributes, in one fixed slot order so that an edit changes words in place.

    Chest X-ray of a 63-year-old man, AP view, with cardiomegaly, no effusion, pacemaker, no support lines

An unknown slot is left out, a finding nobody mentioned too; nothing here knows the names of findings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from prism_jax.data.schema import Attributes

PERSONS = {"M": "man", "F": "woman", None: "patient"}


def describe(attributes: Attributes) -> str:
    """The caption of an image with these attributes."""
    person = PERSONS[attributes.sex]
    if attributes.age is not None:
        years = int(attributes.age)  # completed years, as people state their age
        person = f"{_article(years)} {years}-year-old {person}"
    else:
        person = f"a {person}"
    clauses = [f"Chest X-ray of {person}"]
    if attributes.view:
        clauses.append(f"{attributes.view} view")
    stated = [spoken(name) if present else f"no {spoken(name)}" for name, present in attributes.findings.items()]
    if stated:
        clauses.append("with " + ", ".join(stated))
    return ", ".join(clauses)


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


def _article(number: int) -> str:
    return "an" if number in (8, 11, 18) or 80 <= number <= 89 else "a"
