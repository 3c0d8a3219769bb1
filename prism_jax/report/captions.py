"""Words that an edit changes in a prompt."""

import difflib
from typing import NamedTuple


class Words(NamedTuple):
    """A run of words of a prompt; `is_changed` if the other prompt lacks it at this place."""

    text: str
    is_changed: bool


def changed_words(source: str, edited: str) -> tuple[tuple[Words, ...], tuple[Words, ...]]:
    """Both prompts cut into runs of common and of changed words, which joined by spaces give the prompts."""
    left, right = source.split(), edited.split()
    opcodes = difflib.SequenceMatcher(a=left, b=right, autojunk=False).get_opcodes()
    return (
        tuple(Words(" ".join(left[i:j]), tag != "equal") for tag, i, j, _, _ in opcodes if j > i),
        tuple(Words(" ".join(right[i:j]), tag != "equal") for tag, _, _, i, j in opcodes if j > i),
    )
