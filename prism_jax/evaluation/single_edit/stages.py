"""Stages of a program: announced on stderr as they begin, and timed."""

import sys
import time


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Stages:
    """Announces and times the stages of a run; a class because each stage starts when the previous one ends."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._name, self._start, self._first = "", time.perf_counter(), time.perf_counter()

    def begin(self, text: str, name: str) -> None:
        """Ends the previous stage, and prints `text`."""
        self.end()
        self._name = name
        say(f"{time.perf_counter() - self._first:4.0f} s  {text}")

    def end(self) -> None:
        now = time.perf_counter()
        if self._name:
            self.seconds[self._name] = round(now - self._start, 3)
        self._name, self._start = "", now
