"""Radiology reports: extracting a section, and truncating it to the length of a prompt."""

from __future__ import annotations

import re
from collections.abc import Callable

_HEADING = re.compile(r"^[ \t]*([A-Z][A-Z /()&,-]{2,60}):", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\b[A-Z]\.)(?<!\bDr\.)\s+(?=[A-Z0-9_(])")
_NUMBERED = re.compile(r"(?:(?<=\s)|^)\d{1,2}[.)]\s+(?=\S)")  # "1. Left effusion. 2. No pneumothorax."


def section(report: str, name: str) -> str:
    """The section `name` ("impression") of a report with headings in capitals, white space as single spaces; or ""."""
    headings = list(_HEADING.finditer(report))
    for place, heading in enumerate(headings):
        if heading[1].strip().lower() == name.lower():
            end = headings[place + 1].start() if place + 1 < len(headings) else len(report)
            return " ".join(report[heading.end() : end].split())
    return ""


def sentences(text: str) -> list[str]:
    """The sentences of a text, without the numbers of a numbered list."""
    plain = " ".join(_NUMBERED.sub(" ", text).split())
    return _SENTENCE_END.split(plain) if plain else []


def cut(text: str, fits: Callable[[str], bool]) -> str:
    """The longest run of whole sentences from the start of `text` that fits; "" if the first is too long.

    `fits` returns whether a text fits the text encoder: `lambda text: len(tokenizer(text).input_ids) <= 77`.
    """
    kept = ""
    for sentence in sentences(text):
        longer = f"{kept} {sentence}".strip()
        if not fits(longer):
            break
        kept = longer
    return kept
