"""Trains a small tokenizer in CLIP's format: `prism train tokenizer --config NAME`.

Byte-pair encoding (Sennrich et al. 2016, algorithm 1) of the captions of data sets. All 256 bytes are tokens,
so that no prompt has unknown ones.
"""

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.loading import pipeline
from prism_jax.stable_diffusion import load_tokenizer
from prism_jax.training import run_folder
from prism_jax.weights import pretrained

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerRun:
    """Data, size and extra words of the tokenizer."""

    out: str = "runs/tokenizer"
    """New folder."""
    data: tuple[str, ...] = ("data/phantom",)
    """Data set folders; the captions of their train splits count."""
    limit: int = 5000
    """Captions taken from each."""
    words: tuple[str, ...] = ()
    """Words that should be single tokens, as far as vocab_size allows."""
    vocab_size: int = 1024
    """Largest number of tokens."""


def main(config: TokenizerRun) -> None:
    """Writes the tokenizer into `config.out`."""
    if Path(config.out).exists():
        raise ValueError(f"{config.out} exists; choose a new folder or remove it")
    write(*learn(texts(config), config.vocab_size), Path(config.out))
    tokenizer = load_tokenizer(config.out)
    longest = max(len(tokenizer(text, verbose=False).input_ids) for text in set(texts(config)))
    run_folder.announce(config.out, f"{len(tokenizer)} tokens, longest caption {longest} of 77")


def texts(config: TokenizerRun) -> Iterator[str]:
    """The captions, and each further word often enough to be merged."""
    for folder in config.data:
        source = pipeline.open_split(folder, "train")
        for i in range(min(len(source), config.limit)):
            yield PLAIN.describe(source[i].attributes)
    for word in config.words:
        yield from [word] * 10


def write(vocab: list[str], merges: list[tuple[str, str]], folder: Path) -> None:
    """Writes the files of a CLIPTokenizer."""
    folder.mkdir(parents=True)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    options = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": START,
        "eos_token": END,
        "pad_token": END,
        "unk_token": END,
    }
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    (folder / "vocab.json").write_text(json.dumps(_ids(vocab), ensure_ascii=False) + "\n")
    pretrained.write_json(options, folder / "tokenizer_config.json")


def learn(texts: Iterable[str], vocab_size: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens by id, at most `vocab_size`, and merges in order; laid out as CLIP's."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())  # the 256 characters by which byte-level tokenizers write bytes
    vocab = [*letters, *(letter + WORD_END for letter in letters)]
    if vocab_size < len(vocab) + 2:
        raise ValueError(f"vocab_size {vocab_size} is less than the bytes need; use at least {len(vocab) + 2}")
    splitter = CLIPTokenizer(vocab=_ids([*vocab, START, END]), merges=[]).backend_tokenizer
    words: Counter[tuple[str, ...]] = Counter()
    for text, count in Counter(texts).items():
        pieces = splitter.pre_tokenizer.pre_tokenize_str(splitter.normalizer.normalize_str(text))
        for piece, _ in pieces:
            words[(*piece[:-1], piece[-1] + WORD_END)] += count
    merges = learn_merges(words, vocab_size - len(vocab) - 2)
    vocab += dict.fromkeys(left + right for left, right in merges)
    return [*vocab, START, END], merges


def learn_merges(words: Counter[tuple[str, ...]], count: int) -> list[tuple[str, str]]:
    """The `count` commonest pairs to merge in `words` (symbols -> occurrences), one after the other."""
    merges = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for symbols, times in words.items():
            for pair in itertools.pairwise(symbols):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))  # ties in alphabetical order
        merges.append(best)
        words = Counter({_merged(symbols, best): times for symbols, times in words.items()})
    return merges


def _merged(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    joined, i = [], 0
    while i < len(symbols):
        step = 2 if symbols[i : i + 2] == pair else 1
        joined.append("".join(symbols[i : i + step]))
        i += step
    return tuple(joined)


def _ids(tokens: list[str]) -> dict[str, int]:
    return {token: i for i, token in enumerate(tokens)}
