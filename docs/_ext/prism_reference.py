"""Sphinx extension: the command line, the configurations and the Python API, generated from the code.

A page holds a placeholder, which is replaced when Sphinx reads the page:

- `<!-- commands -->`: the `--help` text of every `prism` command and program
- `<!-- configurations -->`: the configurations that ship: program, what each needs and how long it takes
- `<!-- modules prism_jax.NAME -->`: the modules of a package with their functions and classes (autodoc)
"""

import contextlib
import importlib
import io
import itertools
import os
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

COLUMNS = 88  # of the help texts
SECTIONS = ("Args:", "Returns:", "Raises:", "Yields:", "Attributes:")  # of docstrings
PLACEHOLDER = re.compile(r"<!-- (commands|configurations|modules) ?([\w.]*) -->")


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", _fill_placeholders)
    app.connect("autodoc-process-docstring", _escape_docstring, priority=400)  # before napoleon
    return {"parallel_read_safe": True}


def _fill_placeholders(app: Any, docname: str, source: list[str]) -> None:
    fill = {"commands": _commands, "configurations": _configurations, "modules": _modules}
    source[0] = PLACEHOLDER.sub(lambda match: "\n".join(fill[match[1]](*filter(None, [match[2]]))), source[0])


def help_text(args: list[str]) -> str:
    """The output of `prism ARGS --help`."""
    from prism_jax.cli import main

    os.environ["COLUMNS"] = str(COLUMNS)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main.main([*args, "--help"])
    if not out.getvalue().strip():
        raise ValueError(f"prism {' '.join(args)} --help printed nothing")
    return out.getvalue().rstrip()


def _commands() -> Iterator[str]:
    from prism_jax import programs
    from prism_jax.cli import main
    from prism_jax.data.sources import build

    children = {
        "data build": build.CONFIGS,
        **{command: [program.name for program in programs.of(command)] for command in ("train", "eval")},
    }
    yield from _help([])
    for command in main.COMMANDS:
        for words in (command.split(), *([*command.split(), child] for child in children.get(command, ()))):
            yield from (f"## prism {' '.join(words)}", "", *_help(words))


def _help(command: list[str]) -> tuple[str, ...]:
    return ("```text", f"$ {' '.join(['prism', *command])} --help", help_text(command), "```", "")


def _configurations() -> Iterator[str]:
    from prism_jax.cli import configs

    entries = sorted(configs.entries(), key=lambda entry: (entry.program, entry.name))
    for program, group in itertools.groupby(entries, key=lambda entry: entry.program):
        yield from (f"## {program}", "")
        for entry in group:
            yield from (f"**{entry.name}**: {entry.summary} Takes: {entry.takes}.", "")
            yield from ("```text", *(f"needs: {need}" for need in entry.needs), "```", "")


def _modules(package: str) -> Iterator[str]:
    module = importlib.import_module(package)
    inside = pkgutil.walk_packages(getattr(module, "__path__", []), f"{package}.")
    for name in (package, *(info.name for info in inside if not info.name.endswith("__main__"))):
        yield from (f"## {name}", "", "```{eval-rst}", f".. automodule:: {name}", "   :ignore-module-all:", "```", "")


def _escape_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: outside of `code`, what reStructuredText reads as markup is escaped.

    Indented lines that are not in a section such as Args are shown as they are.
    """
    escaped: list[str] = []
    is_section = is_literal = False
    for line in lines:
        if line.strip() and not line.startswith(" "):
            escaped += [""] * is_literal
            is_section, is_literal = line.strip() in SECTIONS, False
        if line.startswith(" ") and not is_section:
            if not is_literal:
                escaped += ["", "::", ""]
            is_literal = True
        escaped.append(line if is_literal else _escape(line))
    # Napoleon would read the first line "Steps: how many." of an attribute as type and text: a comment goes before it.
    lines[:] = ["..", "", *escaped] if what == "attribute" else escaped


def _escape(line: str) -> str:
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(part if part.startswith("`") else re.sub(r"([*|]|_(?=\W|$))", r"\\\1", part) for part in parts)
