"""`prism configs`: the configurations that ship with the package, from the first lines of their files."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import tyro

FOLDER = Path(__file__).parents[1] / "configs"
KEYS = ("Program", "Needs", "Takes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Lists the configurations that ship with the package: program, commands to run before, and time."""

    words: tyro.conf.Positional[tuple[str, ...]] = ()
    """List only those with all of these words in their name or program, for example: demo finetune."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """Content of the docstring of a configuration."""

    name: str  # for --config: folder/file
    summary: str
    program: str  # "prism train finetune"
    needs: tuple[str, ...]  # commands to run before, in order, or required files
    takes: str  # time on CPU and GPU


def run(options: Options) -> int:
    """Prints the list; returns the exit code."""
    listed = [entry for entry in entries() if all(word in f"{entry.program} {entry.name}" for word in options.words)]
    if not listed:
        raise ValueError(f"no configuration has {' and '.join(options.words)} in its name; see prism configs")
    for entry in sorted(listed, key=lambda entry: (entry.program, entry.name)):
        print(f"{entry.program} --config {entry.name}", f"  {entry.summary}", sep="\n")
        print(*(f"  needs: {need}" for need in entry.needs), f"  takes: {entry.takes}", "", sep="\n")
    print(f"To change one, give options (see prism train NAME --help) or copy its file from {FOLDER}")
    return 0


def entries() -> Iterator[Entry]:
    """The configurations in order of their names; none is imported."""
    for file in sorted(FOLDER.glob("*/*.py")):
        if file.stem != "__init__":
            yield read(file)


def read(file: Path) -> Entry:
    """The entry of a file.

    Its docstring is a summary of one line, then the lines `Program:`, `Needs:` and `Takes:`, each of which may continue
    on indented lines; the rest is free text.

    Raises:
      ValueError: a file without a summary or one of the three.
    """
    summary, _, rest = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n\n")
    stated = dict(re.findall(rf"^({'|'.join(KEYS)}): (.*(?:\n    .*)*)", rest.replace("\\\n", ""), re.MULTILINE))
    if missing := [name for name in KEYS if name not in stated]:
        raise ValueError(f"{file}: the docstring has no line {missing[0]}:")
    lines = {name: [" ".join(line.split()) for line in text.splitlines()] for name, text in stated.items()}
    return Entry(
        name=f"{file.parent.name}/{file.stem}",
        summary=summary,
        program=" ".join(lines["Program"]),
        needs=tuple(lines["Needs"]),
        takes=" ".join(lines["Takes"]),
    )
