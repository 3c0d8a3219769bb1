"""Edits derived from two prompts: the words that differ are the ones to reweight and to blend by.

Words are compared together with the negation before them in their clause: "pacemaker" and "no pacemaker" differ in the
word "pacemaker". So the words of an edit are those of the finding itself, in both prompts, and never "no", "with" or an
article, which occur all over a caption.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from prism_jax.editing.edit import Blend, Edit

NEGATIONS = ("no", "not", "without")
CONNECTIVES = ("a", "an", "the", "and", "with", *NEGATIONS)  # carry no meaning alone
CLAUSE_ENDS = (",", ";", ":", ".")


def edit_between(
    source: str,
    target: str,
    *,
    cross_steps: float | Mapping[str, float] = 0.8,
    self_steps: float = 0.5,
    weight: float = 1.0,
    blend: float | None = None,
) -> Edit:
    """The edit from the prompt `source` to the prompt `target`, always by refinement.

    `weight` is a factor on the attention to what is new in `target`, its negation included: CLIP reads from left to
    right, so it is the word that carries the "no" before it. `blend` is the threshold (0 to 1) of a local blend on
    the words that differ, in either prompt; None lets the whole image change.

    Raises:
      ValueError: a weight without a new word to put it on, or a blend between prompts with the same meaning.
    """
    gone, new = differing(source, target)
    if weight != 1 and not new:
        raise ValueError(f"weight {weight:g} finds no new word in {target!r}, against {source!r}; use weight 1")
    if blend is not None and not gone and not new:
        raise ValueError(f"blend {blend:g} finds no word that differs between {source!r} and {target!r}; leave it out")
    return Edit(
        prompt=target,
        cross_steps=cross_steps,
        self_steps=self_steps,
        reweight=dict.fromkeys(differing(source, target, negations=True)[1], weight) if weight != 1 else None,
        blend=None if blend is None else Blend(words=gone, edit_words=new, threshold=blend),
    )


def differing(source: str, target: str, *, negations: bool = False) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Phrases of `source` that are not in `target`, and the other way round, each found by `word_indices`.

    "with edema, no support lines" and "with support lines" differ in ("edema", "support lines") and in
    ("support lines",). With `negations` a "no" before a phrase belongs to it.
    """
    before, after = _words(source), _words(target)
    matcher = difflib.SequenceMatcher(None, *([word.meaning for word in words] for words in (before, after)), False)
    changes = [places for tag, *places in matcher.get_opcodes() if tag != "equal"]
    gone = [phrase for i, j, _, _ in changes for phrase in _phrases(source, before[i:j], negations)]
    new = [phrase for _, _, i, j in changes for phrase in _phrases(target, after[i:j], negations)]
    return tuple(dict.fromkeys(gone)), tuple(dict.fromkeys(new))


class _Word(NamedTuple):
    place: int  # among the words of the text
    clause: int
    meaning: tuple[str, bool]  # in small letters, and whether it is negated


def _words(text: str) -> list[_Word]:
    """The words of `text` that carry meaning alone."""
    words, clause, is_negated = [], 0, False
    for place, word in enumerate(text.split()):
        bare = _bare(word).casefold()
        if bare in NEGATIONS:
            is_negated = True
        elif bare == "with":
            is_negated = False
        elif bare and bare not in CONNECTIVES:
            words.append(_Word(place, clause, (bare, is_negated)))
        if word.endswith(CLAUSE_ENDS):
            clause, is_negated = clause + 1, False
    return words


def _phrases(text: str, run: Sequence[_Word], negations: bool) -> list[str]:
    """The words of `run` as phrases of `text`, one for each clause."""
    words, phrases = text.split(), []
    for _, group in groupby(run, key=lambda word: word.clause):
        places = [word.place for word in group]
        start = places[0]
        if negations and start and words[start - 1].casefold() in NEGATIONS:
            start -= 1
        written = " ".join(words[start : places[-1] + 1])
        # `word_indices` prefers exact matches: where the bare phrase also occurs elsewhere, as in
        # "effusion, pericardial effusion", only the comma finds the first.
        is_elsewhere = f" {_bare(written)} " in f" {' '.join(words)} "
        phrases.append(written if is_elsewhere else _bare(written))
    return phrases


def _bare(text: str) -> str:
    return re.sub(r"^[\W_]+|[\W_]+$", "", text)
