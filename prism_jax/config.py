"""Run configurations: frozen dataclasses composed by a Python file, kept as JSON.

A configuration file `configs/NAME.py` defines `config()`, which returns a frozen dataclass; options on the
command line change it. Every run writes what it ran with to `config.json`; that file names the class of each
part, so it is a configuration file as well.
"""

import contextlib
import dataclasses
import importlib
import io
import json
import runpy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from prism_jax.atomic import atomic_write

FILE_NAME = "config.json"
_CLASS = "class"  # the JSON key that names a dataclass
_DTYPE = "dtype_name"


def parse(args: Sequence[str], prog: str) -> Any:
    """The configuration asked for by `--config FILE [--section.option value ...]`.

    Raises:
      ValueError: no or an unreadable FILE, an unknown option, or a value that does not fit its option.
    """
    args = list(args)
    if "--config" not in args or args.index("--config") + 1 >= len(args):
        raise ValueError(f"{prog} needs --config FILE: configs/NAME.py, or the config.json of a run")
    at = args.index("--config")
    return override(load(args[at + 1]), args[:at] + args[at + 2 :], prog=f"{prog} --config {args[at + 1]}")


def load(path: str | Path) -> Any:
    """The configuration in `configs/NAME.py`, in a `config.json`, or in the run folder that holds one."""
    path = Path(path)
    if path.is_dir() or path.suffix == ".json":
        return read(path)
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {path}")
    made = runpy.run_path(str(path)).get("config")
    if not callable(made):
        raise ValueError(f"{path} does not define config(); it must return a dataclass")
    return made()


def override(default: Any, args: Sequence[str], prog: str = "") -> Any:
    """`default` with the options in `args` (`--section.option value`) replaced."""
    with usage_errors():
        return tyro.cli(
            type(default),
            default=_with_dtypes(default),
            args=list(args),
            prog=prog,
            registry=_REGISTRY,
            config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
        )


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turns tyro's framed message about wrong options into a one-line ValueError; --help passes."""
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            yield
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise ValueError(_one_line(message.getvalue())) from None


def write(config: Any, run: str | Path) -> None:
    """Writes `run/config.json`, whole or not at all; process 0 does."""
    if jax.process_index() != 0:
        return
    with atomic_write(Path(run) / FILE_NAME) as partial:
        partial.write_text(json.dumps(_encode(config), indent=2) + "\n")


def read(path: str | Path) -> Any:
    """The configuration in `path`: a `config.json` or the run folder that holds one."""
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no configuration {path}; is {path.parent} a run folder?")
    try:
        return _decode(json.loads(path.read_text()))
    except (ValueError, TypeError, ImportError, AttributeError) as error:
        raise ValueError(f"{path} is not a configuration this version reads: {error}") from error


def check_same(config: Any, run: str | Path, names: Sequence[str], *, holds: str, kept: str = FILE_NAME) -> None:
    """Refuses a run folder whose content other settings made.

    Args:
      config: what the run is to be continued with.
      names: the options that its content depends on.
      holds: what that content is, in words.
      kept: pattern of its files in `run`; where there are none, any settings go.

    Raises:
      ValueError: `run` holds some, and was written with another value of some of `names`.
    """
    run = Path(run)
    if not (run / FILE_NAME).is_file() or not any(run.glob(kept)):
        return
    before = read(run)
    if differing := [name for name in names if getattr(before, name) != getattr(config, name)]:
        raise ValueError(f"{run} holds {holds} with another {', '.join(differing)}; use another --run or remove it")


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        fields = {field.name: _encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {_CLASS: f"{kind.__module__}:{kind.__qualname__}", **fields}
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if _is_dtype(value):
        return {_DTYPE: jnp.dtype(value).name}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a configuration cannot hold {value!r}; use numbers, strings, tuples and dataclasses")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    if set(value) == {_DTYPE}:
        return jnp.dtype(value[_DTYPE])
    fields = {key: _decode(item) for key, item in value.items() if key != _CLASS}
    if _CLASS not in value:
        return fields
    module, _, name = value[_CLASS].partition(":")
    kind = getattr(importlib.import_module(module), name)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise ValueError(f"{value[_CLASS]} is not a configuration class")
    return kind(**fields)


def _is_dtype(value: Any) -> bool:
    # jnp.float32 and friends are not dtypes but carry one; dtypes themselves are numpy's.
    return isinstance(value, np.dtype) or value in (jnp.float32, jnp.bfloat16, jnp.float16, jnp.float64)


def _with_dtypes(value: Any) -> Any:
    """The same configuration with jnp.float32 written as dtype("float32"), as tyro's rule below expects."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _with_dtypes(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return jnp.dtype(value) if _is_dtype(value) else value


def _one_line(box: str) -> str:
    """tyro's framed message without its frame, help and line breaks."""
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()]
    kept = []
    for line in lines[1:]:
        if line.startswith("──") and kept and not kept[-1].startswith("Unrecognized"):
            break
        if line and not line.startswith("──"):
            kept.append(line)
    text = " ".join(" ".join(kept).split()).replace("__tyro-dummy-inner__.", "")  # tyro's name for a union
    return text.split(" For full helptext")[0] or "wrong options"


_REGISTRY = tyro.constructors.ConstructorRegistry()


@_REGISTRY.primitive_rule
def _dtype_rule(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Reads `--model.dtype bfloat16`."""
    if info.type is not np.dtype:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="DTYPE",
        instance_from_str=lambda words: jnp.dtype(words[0]),
        is_instance=lambda value: isinstance(value, np.dtype),
        str_from_instance=lambda value: [value.name],
    )
