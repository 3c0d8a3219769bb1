"""What every program shares: reading its configuration, and turning errors into one line and an exit code."""

import hashlib
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from prism_jax import config as configs

TRACEBACK = "PRISM_TRACEBACK"  # set to 1 to see where an error was raised


class Stopped(Exception):
    """A signal asked the program to stop, and it did so with everything saved."""


def run(main: Callable[[Any], None], config_class: type, args: Sequence[str] | None = None) -> int:
    """Runs `main(config)` with the configuration of the command line; returns its `exit_code`."""

    if args is None:
        enable_compilation_cache()

    def program() -> None:
        config = configs.parse(sys.argv[1:] if args is None else args, prog=f"python -m {_name(main)}")
        # By name: under `python -m` the program's own classes exist twice, once in `__main__`.
        if type(config).__name__ != config_class.__name__:
            raise ValueError(f"this program takes a {config_class.__name__}, not a {type(config).__name__}")
        main(config)

    return exit_code(program)


def _name(main: Callable[[Any], None]) -> str:
    """What follows `python -m`: a module, or the folder of one that has a `__main__`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    started = None if spec is None else spec.name  # under `python -m` alone
    return str(started or main.__module__).removesuffix(".__main__")


def enable_compilation_cache() -> None:
    """Has JAX keep compiled programs in the user's cache between starts, unless JAX_COMPILATION_CACHE_DIR says where.

    An empty JAX_COMPILATION_CACHE_DIR turns it off.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or jax.config.jax_compilation_cache_dir:
        return
    # By kind of processor: a home folder may serve many machines, and programs for CPUs use all that theirs can do.
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else [platform.processor()]
    flags = [line for line in lines if line.startswith(("flags", "Features"))][:1] or lines[:1]
    kind = hashlib.blake2b("".join([platform.machine(), *flags]).encode(), digest_size=6).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(cache / "prism_jax" / kind))


def exit_code(program: Callable[[], None]) -> int:
    """Runs `program`: 0 for success, 2 for wrong usage or input, 1 when interrupted or when numbers went wrong.

    A program that a signal stopped, and that saved everything first, has succeeded: a scheduler starts it again.

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
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
    except (FloatingPointError, KeyboardInterrupt) as error:
        return _report(error, 1)
    return 0


def _report(error: BaseException, code: int) -> int:
    text = " ".join(str(error).split()) or "stopped"
    print(f"error: {text}" if not isinstance(error, KeyboardInterrupt) else text, file=sys.stderr)
    return code
