"""Communication between devices of a compiled program, from its text."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all", "collective-broadcast")

_HEADER = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\) -> .* \{$")
_COLLECTIVE = re.compile(rf"^\s*(?:ROOT )?%?\S+ = (.*?) (?:ragged-)?({'|'.join(KINDS)})(-start|-done)?\(")
_CALLED = re.compile(r"(?:body|condition|to_apply|calls|branch_computations|\w+_computation)=(\{[^}]*\}|%?[\w.-]+)")
_ENDS_ASYNC = re.compile(r" async-(?:update|done)\(")  # names what its async-start has called
_TRIPS = re.compile(r'known_trip_count\\?":\{\\?"n\\?":\\?"(\d+)')
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=]*)\]")


class Count(NamedTuple):
    """Collectives of one kind in one run of a program."""

    number: int
    bytes: int  # of what they leave on one device, all together


def sent(counts: dict[str, Count]) -> str:
    """Collectives of one run: number and MiB of each kind."""
    each = (f"{kind} {total.number}, {total.bytes / 2**20:.1f}" for kind, total in sorted(counts.items()))
    return "; ".join(each) or "nothing"


def count(hlo_text: str) -> dict[str, Count]:
    """How often a run of the program makes each kind of collective, and the bytes that these leave on one device.

    A reduce-scatter leaves its part of the sum, an all-gather the whole. One of several arrays (of a tuple) is one.
    One that is started and ended apart is one. In a loop, it counts for every trip.

    Raises:
      ValueError: there is no program in the text, or a collective is in a loop of unknown length.
    """
    parts, entry = _computations(hlo_text)
    totals = defaultdict(lambda: Count(0, 0))
    for times, line in _made(entry, 1, parts):
        result, kind, form = _COLLECTIVE.match(line).groups()
        if form == "-start":  # the end has the result alone, the start operands and handles beside it
            continue
        if times is None:
            raise ValueError(f"a loop of unknown length makes an {kind}: {line.strip()[:80]}; give the loop a length")
        number, size = totals[kind]
        totals[kind] = Count(number + times, size + times * _bytes(result))
    return dict(totals)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of every computation that matter here, and the name of the first to run."""
    parts, entry, lines = {}, None, []
    for line in text.splitlines():
        if header := _HEADER.match(line):
            lines = parts.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif _COLLECTIVE.match(line) or (_CALLED.search(line) and not _ENDS_ASYNC.search(line)):
            lines.append(line)
    if entry is None:
        raise ValueError("this is no text of a compiled program; use compiled.as_text()")
    return parts, entry


def _made(name: str, times: int | None, parts: Mapping[str, list[str]]) -> Iterator[tuple[int | None, str]]:
    """The collectives of a computation and of those it calls, each with how often it is made; None: not known."""
    for line in parts.get(name, ()):
        if _COLLECTIVE.match(line):
            yield times, line
            continue
        inside = times
        if " while(" in line:
            trips = _TRIPS.search(line)
            inside = times * int(trips[1]) if times is not None and trips else None
        for called in _CALLED.findall(line):
            for inner in re.findall(r"[\w.-]+", called):
                yield from _made(inner, inside, parts)


def _bytes(result: str) -> int:
    """Of all arrays in the shape of a result: `f32[64,128]{1,0}`, or several in parentheses."""
    return sum(_array_bytes(kind, sides) for kind, sides in _ARRAY.findall(result))


def _array_bytes(kind: str, sides: str) -> int:
    bits = 8 if kind == "pred" else int((re.search(r"\d+", kind) or ["0"])[0])  # f32, bf16, f8e4m3fn, s4; token: 0
    return math.ceil(bits * math.prod(int(side.lstrip("<=")) for side in sides.split(",") if side) / 8)
