"""Alignment of the tokens of two prompts: the tables of prompt-to-prompt (Hertz et al. 2022, arXiv 2208.01626).

Everything runs on the host, once per pair of prompts, and gives arrays of fixed size for the jitted programs.
Token positions count the start token as 0. The tables agree with google/prompt-to-prompt, its oddities
included; only finding words goes further, because "pacemaker" should be found in "AP view, with pacemaker, no
effusion".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

LENGTH = 77  # positions of the CLIP text encoder
DEFAULT = "default_"  # key of `time_word_alphas` for all words that have no entry of their own

Span = tuple[int, int]  # characters of a prompt, end exclusive
Bounds = float | tuple[float, float]  # fractions of the steps: (start, end), or an end with the start 0
Tokenizer = Any  # transformers.CLIPTokenizer


class Word(NamedTuple):
    """A word of a prompt, and the positions of its tokens, int32 [n]."""

    text: str
    tokens: np.ndarray


def words_of(text: str, tokenizer: Tokenizer) -> tuple[Word, ...]:
    """The words of `text` with a letter or digit, each occurrence by itself, without punctuation around it."""
    offsets = _tokens(text, tokenizer)[1]
    return tuple(Word(text[a:b], _tokens_in(offsets, [(a, b)])) for a, b in _bare(text, _words(text)))


def word_indices(text: str, word: str, tokenizer: Tokenizer) -> np.ndarray:
    """Positions of the tokens of all occurrences of `word` in `text`: int32 [n], rising, empty if none.

    `word` may be a phrase ("support lines"). Words are what white space separates. Those equal to `word` to
    the letter are taken ("Edema," is not "edema": the rule of prompt-to-prompt). Where there are none,
    case and punctuation around words are ignored, and the tokens of that punctuation left out.
    """
    offsets = _tokens(text, tokenizer)[1]
    spans, sought = _words(text), _words(word)
    places = _occurrences(_cut(text, spans), _cut(word, sought))
    if not places:
        spans, sought = _bare(text, spans), _bare(word, sought)
        places = _occurrences(_folded(_cut(text, spans)), _folded(_cut(word, sought)))
    return _tokens_in(offsets, [spans[i] for i in places])


def refinement(source: str, target: str, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """For every token of `target` the one of `source` whose attention it takes over.

    Returns the mapper, int32 [77], -1 for a token that has none, and alphas, float32 [77], 0 there and else
    1. Past the end of the target positions map to themselves.
    """
    ids, target_ids = _tokens(source, tokenizer)[0], _tokens(target, tokenizer)[0]
    mapper = np.arange(LENGTH, dtype=np.int32)
    mapper[: len(target_ids)] = _align(ids, target_ids)
    return mapper, (mapper >= 0).astype(np.float32)


def replacement(source: str, target: str, tokenizer: Tokenizer) -> np.ndarray:
    """The matrix float32 [77, 77] that takes attention over source tokens to target tokens, word by word.

    Raises ValueError unless both prompts have the same number of words.
    """
    words, target_words = source.split(), target.split()
    if len(words) != len(target_words):
        raise ValueError(
            f"a word replacement needs prompts of equal length, but {source!r} has {len(words)} words and "
            f'{target!r} has {len(target_words)}; use the kind "refine"'
        )
    mapper = np.zeros((LENGTH, LENGTH), np.float32)
    i = j = 0  # the next source and target position
    for old, new in _changed_words(source, target, tokenizer):
        same = np.arange(old[0] - i)
        mapper[i + same, j + same] = 1
        if len(old) == len(new):
            mapper[old, new] = 1
        else:
            mapper[np.ix_(old, new)] = 1 / len(new)
        i, j = old[0] + len(old), j + len(same) + len(new)
    # prompt-to-prompt continues along [j, j] rather than [i, j], even where i and j differ by now.
    rest = np.arange(j, min(LENGTH, LENGTH + j - i))
    mapper[rest, rest] = 1
    return mapper


def equalizer(text: str, weights: Mapping[str, float], tokenizer: Tokenizer) -> np.ndarray:
    """Factors float32 [77] on the attention to each token: `weights` by word or phrase of `text`, else 1.

    Raises ValueError for a word that is not in `text`.
    """
    factors = np.ones(LENGTH, np.float32)
    for word, weight in weights.items():
        factors[_required(text, word, tokenizer)] = weight
    return factors


def time_word_alphas(
    text: str, steps: int, cross_steps: Bounds | Mapping[str, Bounds], tokenizer: Tokenizer
) -> np.ndarray:
    """When the tokens of the edited prompt `text` take over source attention: float32 [steps + 1, 77].

    `cross_steps` are fractions of the steps, for all words, or by word with "default_" for the others (unless
    given, always). Later words win. Raises ValueError for a word that is not in `text`, or fractions outside
    0 to 1.
    """
    by_word = dict(cross_steps) if isinstance(cross_steps, Mapping) else {DEFAULT: cross_steps}
    default = step_window(by_word.pop(DEFAULT, 1.0), steps + 1)
    alphas = np.zeros((steps + 1, LENGTH), np.float32)
    alphas[slice(*default)] = 1
    for word, bounds in by_word.items():
        tokens = _required(text, word, tokenizer)
        alphas[:, tokens] = 0
        alphas[slice(*step_window(bounds, steps + 1)), tokens] = 1
    return alphas


def step_window(bounds: Bounds, steps: int) -> tuple[int, int]:
    """First step and end (exclusive) of a window given as fractions of `steps`, rounded down."""
    start, end = bounds if isinstance(bounds, Sequence) else (0.0, bounds)
    if not 0 <= start <= end <= 1:
        raise ValueError(f"a window of steps from {start} to {end} does not fit; need 0 <= start <= end <= 1")
    return int(float(start) * steps), int(float(end) * steps)


def _required(text: str, word: str, tokenizer: Tokenizer) -> np.ndarray:
    tokens = word_indices(text, word, tokenizer)
    if not len(tokens):
        raise ValueError(f"{word!r} is not in the prompt {text!r}; use words of the prompt")
    return tokens


def _changed_words(source: str, target: str, tokenizer: Tokenizer) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Token positions in `source` and in `target` of every word in which they differ."""
    offsets, target_offsets = _tokens(source, tokenizer)[1], _tokens(target, tokenizer)[1]
    spans, target_spans = _words(source), _words(target)
    pairs = zip(_cut(source, spans), _cut(target, target_spans), strict=True)
    for k, (old, new) in enumerate(pairs):
        if old != new:
            yield _tokens_in(offsets, [spans[k]]), _tokens_in(target_offsets, [target_spans[k]])


def _words(text: str) -> list[Span]:
    return [found.span() for found in re.finditer(r"\S+", text)]


def _bare(text: str, spans: Sequence[Span]) -> list[Span]:
    """`spans` trimmed to their first and last letter or digit; spans without any are dropped."""
    found = (re.compile(r"[^\W_](?:.*[^\W_])?").search(text, *span) for span in spans)
    return [match.span() for match in found if match]


def _cut(text: str, spans: Sequence[Span]) -> list[str]:
    return [text[a:b] for a, b in spans]


def _folded(words: Sequence[str]) -> list[str]:
    return [word.casefold() for word in words]


def _occurrences(words: Sequence[str], sought: Sequence[str]) -> list[int]:
    """Places in `words` that belong to an occurrence of the sequence `sought`."""
    n = len(sought)
    starts = [i for i in range(len(words) - n + 1) if words[i : i + n] == sought] if n else []
    return sorted({i + k for i in starts for k in range(n)})


def _align(source: Sequence[int], target: Sequence[int]) -> list[int]:
    """For each item of `target` its place in `source` or -1: Needleman-Wunsch, match 1, mismatch -1."""
    scores = np.zeros((len(source) + 1, len(target) + 1), np.int32).tolist()
    for i, x in enumerate(source, 1):
        above, row = scores[i - 1], scores[i]
        for j, y in enumerate(target, 1):
            row[j] = max(row[j - 1], above[j], above[j - 1] + (1 if x == y else -1))
    places, i, j = [-1] * len(target), len(source), len(target)
    while i and j:  # gaps cost nothing; ties go to a gap in the source, then to one in the target
        if scores[i][j] == scores[i][j - 1]:
            j -= 1
        elif scores[i][j] == scores[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            places[j] = i
    return places


def _tokens(text: str, tokenizer: Tokenizer) -> tuple[list[int], list[Span]]:
    """Ids of `text`, start and end token included, and the characters that each stands for."""
    encoded = tokenizer(text, return_offsets_mapping=True, verbose=False)
    if len(encoded.input_ids) > LENGTH:
        raise ValueError(
            f"prompt of {len(encoded.input_ids)} tokens, the limit is {LENGTH}; shorten it: {text[:60]!r}..."
        )
    return encoded.input_ids, encoded.offset_mapping


def _tokens_in(offsets: Sequence[Span], spans: Sequence[Span]) -> np.ndarray:
    """Positions of the tokens that lie in any of `spans`, int32; never the start or the end token."""
    inside = [i for i, (a, b) in enumerate(offsets) if a < b and any(c <= a and b <= d for c, d in spans)]
    return np.asarray(inside, np.int32)
