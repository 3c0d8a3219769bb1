"""The `prism` command: finds the subcommand, reads its options, runs it."""

import importlib
import importlib.metadata
import sys
from collections.abc import Sequence

from prism_jax import atomic, entrypoint
from prism_jax.cli import run_program

COMMANDS = {
    "data build": "build a data set that training reads",
    "data report": "describe a built data set: counts, associations, near duplicates, burned-in text",
    "train": "train a model; prism train lists the programs",
    "eval": "evaluate models; prism eval lists the programs",
    "edit": "edit one image by text",
    "export": "turn a training run into a diffusers folder",
    "report": "compare runs side by side",
    "configs": "list the configurations that ship with the package",
    "doctor": "check devices, versions and caches, and say how to fix what is wrong",
}
CODES = (
    "Exit codes: 0 success; 2 wrong usage or input; 75 stopped by SIGTERM with its state saved, and 130 stopped by\n"
    "Ctrl-C: the same command resumes; 1 anything else. PRISM_TRACEBACK=1 shows where an error was raised."
)


def main(args: Sequence[str] | None = None) -> None:
    """Runs `prism` and leaves with its exit code (prism_jax.entrypoint lists them)."""
    sys.exit(entrypoint.run(dispatch, args))


def dispatch(args: list[str]) -> int:
    """Runs the command that `args` names; returns its exit code. ValueError for wrong usage."""
    if args[:1] == ["--version"]:
        print(f"prism {importlib.metadata.version('prism-jax')}")
        return 0
    if not args or args[0] in ("--help", "-h", "help"):
        print(overview())
        return 0
    if args[0] in run_program.GROUPS:
        return run_program.dispatch(args[0], args[1:])
    for command in COMMANDS:
        words = command.split()
        if args[: len(words)] == words:
            return _run(command, args[len(words) :])
    group = [command for command in COMMANDS if command.split()[0] == args[0]]
    if group and args[1:] in ([], ["--help"], ["-h"]):
        print(overview(group))
        return 0
    asked = " ".join(args[: 1 + bool(group)])
    raise ValueError(f"there is no command prism {asked}; use one of: {', '.join(COMMANDS)}")


def overview(commands: Sequence[str] = tuple(COMMANDS)) -> str:
    """The help of `prism`, or of a group of its commands."""
    listed = "\n".join(f"  {command:<12} {COMMANDS[command]}" for command in commands)
    return f"usage: prism COMMAND ...      (prism COMMAND --help lists its options)\n\n{listed}\n\n{CODES}"


def _run(command: str, args: list[str]) -> int:
    import tyro

    # Only this command is imported: the packages that others depend on cost neither time nor an installation.
    module = importlib.import_module(f"prism_jax.cli.{command.replace(' ', '_')}")
    options = tyro.cli(module.Options, args=args, prog=f"prism {command}")
    if out := getattr(options, "out", None):
        atomic.check_writable(out)
    return module.run(options)
