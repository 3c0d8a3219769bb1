"""`prism train NAME` and `prism eval NAME`: reads the configuration, checks that it is the program's, runs it."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from prism_jax import atomic, entrypoint, programs
from prism_jax.programs import Program

CONFIG = "--config"
GROUPS = ("train", "eval")


def main(command: str, name: str) -> NoReturn:
    """Runs a program with the options of the process and leaves with its exit code."""
    sys.exit(entrypoint.run(lambda options: run(programs.find(command, name), options)))


def dispatch(command: str, args: Sequence[str]) -> int:
    """`prism train ...` and `prism eval ...`: runs the program that is named first; returns the exit code."""
    if not args or args[0] in ("--help", "-h"):
        print(overview(command))
        return 0
    run(programs.find(command, args[0]), args[1:])
    return 0


def overview(command: str) -> str:
    """The help of `prism train` and `prism eval`: all programs."""
    listed = programs.of(command)
    width = max(len(program.name) for program in listed)
    return "\n".join(
        [
            f"usage: prism {command} NAME --config CONFIG [--section.option value ...]",
            "",
            *(f"  {program.name:<{width}}  {program.purpose}" for program in listed),
            "",
            "CONFIG is the name of a configuration that ships with the package (prism configs lists them), a Python",
            "file with a function config(), or the run folder or config.json of an earlier run.",
            f"prism {command} NAME --help lists the options of a program.",
        ]
    )


def run(program: Program, args: Sequence[str]) -> None:
    """Runs a program. ValueError for wrong usage, and for a configuration of another program."""
    from prism_jax import config as configs  # with JAX, which the overview does not need

    given, options = split(args)
    is_help = "--help" in options or "-h" in options
    if given is None and not is_help:
        example = f", for example {CONFIG} {examples[0]}" if (examples := shipped(program)) else ""
        raise ValueError(f"{program} needs {CONFIG} NAME_OR_FILE{example}; see {program} --help")
    named = given or shipped(program)[0]
    config = configs.load(named)
    check(program, config, named)
    prog = f"{program} {CONFIG} {named if given else 'CONFIG'}"
    config = configs.override(config, options, prog=prog, description=describe(program, named) if is_help else None)
    atomic.check_writable(results_of(config))
    try:
        importlib.import_module(program.module).main(config)
    except (OSError, ValueError) as error:
        if not (command := remedy(named, str(error))):
            raise
        raise ValueError(f"{error} (here: {command})") from error
    report(program, config, named)


def report(program: Program, config: Any, named: str) -> None:
    """Prints the path of the results and the next command (process 0 only)."""
    import jax

    if program.next and jax.process_index() == 0:
        run = results_of(config)
        print(f"results: {run}", f"next: {program.next.format(run=run, config=named)}", sep="\n")


def results_of(config: Any) -> Path:
    """The folder that a program writes."""
    return Path(getattr(config, "run", None) or getattr(config, "out", None) or config.training.run)


def split(args: Sequence[str]) -> tuple[str | None, list[str]]:
    """The value of `--config`, or None, and all other arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(CONFIG, nargs="?", const="", action="append", default=[])
    given, others = parser.parse_known_args(args)
    if "" in given.config:
        raise ValueError(f"{CONFIG} needs a name or a file; prism configs lists what ships")
    if len(given.config) > 1:
        raise ValueError(f"{CONFIG} is given {len(given.config)} times: {', '.join(given.config)}; give it once")
    return next(iter(given.config), None), others


def check(program: Program, config: Any, named: str) -> None:
    """Raises ValueError where `config` is not of the class that the program takes."""
    takers = programs.taking(type(config))
    if program in takers:
        return
    if takers:
        raise ValueError(f"{named} is a configuration of {' and '.join(map(str, takers))}, not of {program}")
    raise ValueError(f"{named} is a {type(config).__name__}, not a configuration of {program}")


def shipped(program: Program) -> list[str]:
    """Names of the configurations that ship for a program, those of the demo first."""
    from prism_jax.cli import configs

    takers = {str(other) for other in programs.PROGRAMS if other.config == program.config}
    names = [entry.name for entry in configs.entries() if entry.program in takers]
    return sorted(names, key=lambda name: (not name.startswith("demo/"), name))


def describe(program: Program, named: str) -> str:
    """Description of a program, shown above the options in --help."""
    return (
        f"{program.purpose[0].upper()}{program.purpose[1:]}. The defaults below are those of {named}; "
        f"--config CONFIG --help shows another's. Configurations that ship: {', '.join(shipped(program))}."
    )


def remedy(named: str, error: str) -> str | None:
    """The command that a shipped configuration names for making the folder whose absence `error` reports."""
    from prism_jax.cli import configs
    from prism_jax.config import shipped_name

    entry = next((entry for entry in configs.entries() if entry.name == shipped_name(Path(named))), None)
    for command in entry.needs if entry else ():
        words = command.split()
        if "--out" in words and (out := words[words.index("--out") + 1]) in error and not Path(out).exists():
            return command
    return None
