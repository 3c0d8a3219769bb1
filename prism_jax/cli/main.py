"""The `prism` command: finds the subcommand, reads its options, runs it."""

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

import tyro

from prism_jax import entrypoint
from prism_jax.config import usage_errors

COMMANDS = {
    "data build": "build a data set that training reads",
    "data report": "say what is in a built data set: counts, links, copies, marks",
    "edit": "edit one image by text",
    "report": "compare runs side by side",
    "export": "turn a training run into a diffusers folder",
    "doctor": "show devices, versions and caches, what is wrong and how to mend it",
}
HELP = "\n".join(
    [
        "usage: prism COMMAND ...      (prism COMMAND --help tells more)",
        "",
        *(f"  {command:<12} {purpose}" for command, purpose in COMMANDS.items()),
        "",
        "Training and evaluation are programs of their own: python -m train.finetune, python -m eval.counterfactuals",
    ]
)


def main(args: Sequence[str] | None = None) -> None:
    """Runs `prism` and leaves with its exit code: 0 success, 2 wrong usage or input, 1 anything else."""
    if args is None:
        entrypoint.enable_compilation_cache()
    args = list(sys.argv[1:] if args is None else args)
    codes = []
    code = entrypoint.exit_code(lambda: codes.append(dispatch(args)))
    sys.exit(code or codes[0])


def dispatch(args: list[str]) -> int:
    """Runs the command that `args` asks for; returns its exit code. ValueError for wrong usage."""
    if args[:1] in (["--help"], ["-h"]):
        print(HELP)
        return 0
    for command in COMMANDS:
        words = command.split()
        if args[: len(words)] == words:
            return _run(command, args[len(words) :])
    asked = f"there is no command {' '.join(args[:2])!r}" if args else "a command is missing"
    raise ValueError(f"{asked}; use one of: {', '.join(COMMANDS)} (see prism --help)")


def _run(command: str, args: list[str]) -> int:
    try:
        module = _module(command)
        with usage_errors():
            options = tyro.cli(module.Options, args=args, prog=f"prism {command}")
        return module.run(options)
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name == "prism_jax":
            raise
        raise ValueError(f"prism {command} needs the package {name}, which is missing; see prism doctor") from error


def _module(command: str) -> ModuleType:
    # Only the one asked for is imported: what the others depend on costs neither time nor an install.
    return importlib.import_module(f"prism_jax.cli.{command.replace(' ', '_')}")
