"""What every program shares: reading its configuration, and turning errors into one line and an exit code."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from prism_jax import config as configs

TRACEBACK = "PRISM_TRACEBACK"  # set to 1 to see where an error was raised


def run(main: Callable[[Any], None], config_class: type, args: Sequence[str] | None = None) -> int:
    """Runs `main(config)` with the configuration of the command line; returns its `exit_code`."""

    def program() -> None:
        name = main.__module__ if main.__module__ != "__main__" else f"train.{os.path.basename(sys.argv[0])[:-3]}"
        config = configs.parse(sys.argv[1:] if args is None else args, prog=f"python -m {name}")
        # By name: under `python -m` the program's own classes exist twice, once in `__main__`.
        if type(config).__name__ != config_class.__name__:
            raise ValueError(f"this program takes a {config_class.__name__}, not a {type(config).__name__}")
        main(config)

    return exit_code(program)


def exit_code(program: Callable[[], None]) -> int:
    """Runs `program`: 0 for success, 2 for wrong usage or input, 1 when stopped or when numbers went wrong.

    Prints one line on stderr for each error of those kinds. Any other exception is a bug and passes with its
    traceback; so does every exception where the environment has PRISM_TRACEBACK=1.
    """
    if os.environ.get(TRACEBACK) == "1":
        program()
        return 0
    try:
        program()
    except (ValueError, OSError) as error:
        return _report(error, 2)
    except (FloatingPointError, KeyboardInterrupt) as error:
        return _report(error, 1)
    return 0


def _report(error: BaseException, code: int) -> int:
    text = " ".join(str(error).split()) or "stopped"
    print(f"error: {text}" if not isinstance(error, KeyboardInterrupt) else text, file=sys.stderr)
    return code
