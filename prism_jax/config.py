"""Run configurations: frozen dataclasses composed by a Python file, kept as JSON.

A configuration file defines `config()`, which returns a frozen dataclass; options on the command line change it. Every
run writes what it ran with to `config.json`, which is a configuration file as well. It names the class of the
configuration, and of fields that may hold several classes; all other classes follow from the annotations of the fields.
"""

import dataclasses
import difflib
import importlib
import json
import runpy
import types
import typing
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cattrs
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from cattrs.gen import make_dict_structure_fn

from prism_jax import config_aliases, json_codec, programs
from prism_jax.atomic import atomic_write

FILE_NAME = "config.json"
SHIPPED = Path(__file__).parent / "configs"
CLASSES = {program.config.partition(":")[2]: program.config.partition(":")[0] for program in programs.PROGRAMS} | {
    "ChestConfig": "prism_jax.models.predictors",
    "CycleGANConfig": "prism_jax.models.cyclegan",
    "Graph": "prism_jax.scm.graph",
    "MorphoConfig": "prism_jax.models.predictors",
}
"""Classes that a config.json may name -> their modules. No other module is imported for it."""
_CLASS = "class"  # the JSON key that names a dataclass
_DTYPE = "dtype_name"  # how a dtype was written before 0.2: {"dtype_name": "float32"}


def load(named: str | Path) -> Any:
    """The configuration that a name or a path stands for.

    Args:
      named: a configuration that ships with the package (`demo/finetune`), a Python file with a function `config()`,
        a `config.json`, or the run folder that holds one.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it cannot be read.
    """
    path = Path(named)
    if path.suffix == ".json" or (path / FILE_NAME).is_file():
        return read(path)
    if path.is_file():
        if path.suffix != ".py":
            raise ValueError(f"{path} is neither a Python file (.py) nor a config.json")
        create = runpy.run_path(str(path)).get("config")
        if not callable(create):
            raise ValueError(f"{path} does not define config(); it must return a dataclass")
        return create()
    if name := shipped_name(path):
        return importlib.import_module(f"prism_jax.configs.{name.replace('/', '.')}").config()
    if path.is_dir():
        return read(path)
    names = [f"{file.parent.name}/{file.stem}" for file in SHIPPED.glob("*/[a-z]*.py")]
    close = difflib.get_close_matches(str(path.with_suffix("")), names, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    raise FileNotFoundError(f"no configuration {named}; {meant}prism configs lists what ships")


def shipped_name(path: Path) -> str | None:
    """The name of the shipped configuration at `path` (`configs/demo/finetune.py` too); None for any other path."""
    parts = path.with_suffix("").parts if path.suffix == ".py" else path.parts
    for prefix in (("prism_jax", "configs"), ("configs",)):
        parts = parts[len(prefix) :] if parts[: len(prefix)] == prefix else parts
    is_shipped = len(parts) == 2 and all(part.isidentifier() for part in parts)
    return "/".join(parts) if is_shipped and SHIPPED.joinpath(*parts).with_suffix(".py").is_file() else None


def override(default: Any, args: Sequence[str], prog: str = "", description: str | None = None) -> Any:
    """`default` with the options in `args` (`--section.option value`) replaced.

    Raises:
      SystemExit: --help (code 0), or an unknown option or a value that does not fit (2), after printing the reason.
    """
    return tyro.cli(
        type(default),
        default=_with_dtypes(default),
        args=list(args),
        prog=prog,
        description=description,
        registry=_REGISTRY,
        config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
    )


def write(config: Any, run: str | Path) -> None:
    """Writes `run/config.json`, whole or not at all; process 0 does."""
    if jax.process_index() != 0:
        return
    with atomic_write(Path(run) / FILE_NAME) as partial:
        partial.write_text(json.dumps(_tagged(config), indent=2) + "\n")


def read(path: str | Path, kind: Any = object, remedy: str = "give a run folder") -> Any:
    """The configuration in `path`: a `config.json` or the folder that holds one.

    Args:
      kind: the class that it must be of; or a union of classes.
      remedy: what to give instead, for the message.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it cannot be read, or is of another class.
    """
    given, path = path, Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no configuration {path}; {remedy}")
    config = _structured(path)
    if not isinstance(config, kind):
        raise ValueError(f"{given} holds a {type(config).__name__}; {remedy}")
    return config


def _structured(path: Path) -> Any:
    try:
        content = json.loads(path.read_text())
        name = _class_name(content)
        if name not in CLASSES:
            raise ValueError(f"class {name} is not a configuration")
        return _CONFIGS.structure(content, getattr(importlib.import_module(CLASSES[name]), name))
    except cattrs.BaseValidationError as error:
        raise ValueError(f"{path} is not a configuration this version reads: {json_codec.reasons(error)}") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a configuration this version reads: {error}") from error


def check_same(config: Any, run: str | Path, names: Sequence[str], *, holds: str, kept: str = FILE_NAME) -> None:
    """Refuses a run folder whose content was made with other settings.

    Args:
      config: the settings to resume with.
      names: the options that the content depends on.
      holds: a description of the content, for the message.
      kept: pattern of its files in `run`; where there are none, any settings do.

    Raises:
      ValueError: `run` holds some, and was written with another value of some of `names`.
    """
    run = Path(run)
    if not (run / FILE_NAME).is_file() or not any(run.glob(kept)):
        return
    before = read(run)
    if differing := [name for name in names if getattr(before, name) != getattr(config, name)]:
        raise ValueError(f"{run} holds {holds} with another {', '.join(differing)}; use another --run or remove it")


def _tagged(config: Any) -> dict[str, Any]:
    """A configuration as JSON, its class named."""
    return {_CLASS: type(config).__name__, **_CONFIGS.unstructure(config)}


def _class_name(content: Any) -> str:
    """Today's name of the class that a JSON object names; files from before 0.2 name its module too."""
    if not isinstance(content, dict) or not isinstance(content.get(_CLASS), str):
        raise ValueError("it names no class")
    old, name = content[_CLASS], content[_CLASS].rpartition(":")[2]
    return config_aliases.CLASSES.get(old) or config_aliases.CLASSES.get(name, name)


def converter() -> cattrs.Converter:
    """Converter between configurations and JSON types; it does not write the class of the top-level configuration."""
    converter = json_codec.strict_converter()
    converter.register_structure_hook_factory(dataclasses.is_dataclass, partial(_dataclass_reader, converter))
    converter.register_structure_hook_factory(_is_ambiguous, partial(_union_reader, converter))
    converter.register_unstructure_hook_func(_is_ambiguous, lambda value: None if value is None else _tagged(value))
    is_dtype = lambda kind: kind is np.dtype
    converter.register_unstructure_hook_func(is_dtype, lambda value: jnp.dtype(value).name)
    name_of = lambda value: value[_DTYPE] if isinstance(value, dict) else value
    converter.register_structure_hook_func(is_dtype, lambda value, _: jnp.dtype(name_of(value)))
    return converter


def _dataclass_reader(converter: cattrs.Converter, kind: type) -> Callable:
    fill = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)
    aliases = (config_aliases.FIELDS, config_aliases.REMOVED, config_aliases.VALUES)
    renamed, removed, values = (table.get(kind.__name__, {}) for table in aliases)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{value!r} is not a {kind.__name__}")
        fields = {renamed.get(name, name): item for name, item in value.items() if name != _CLASS}
        for name, only in removed.items():
            if (was := fields.pop(name, only)) != only:
                raise ValueError(f"{kind.__name__} has no {name} any more and means {only!r}, the file says {was!r}")
        for name, today in values.items():
            if isinstance(was := fields.get(name), str):
                fields[name] = today.get(was, was)
        return fill(fields, kind)

    return structure


def _union_reader(converter: cattrs.Converter, kind: Any) -> Callable:
    members, is_optional = _members(kind), type(None) in typing.get_args(kind)

    def structure(value: Any, _: Any) -> Any:
        if value is None and is_optional:
            return None
        name = _class_name(value)
        if name not in members:
            raise ValueError(f"class {name} is not one of {', '.join(members)}")
        return converter.structure(value, members[name])

    return structure


def _members(kind: Any) -> dict[str, type]:
    """The dataclasses of a union by name; empty for any other type."""
    if typing.get_origin(kind) not in (types.UnionType, typing.Union):
        return {}
    return {member.__name__: member for member in typing.get_args(kind) if dataclasses.is_dataclass(member)}


def _is_ambiguous(kind: Any) -> bool:
    return len(_members(kind)) > 1


_CONFIGS = converter()


def _with_dtypes(value: Any) -> Any:
    """The same configuration with jnp.float32 written as dtype("float32"), as tyro's rule below expects."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _with_dtypes(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    # jnp.float32 and the like are not dtypes but have one.
    is_dtype = isinstance(value, type(jnp.float32))
    return jnp.dtype(value) if is_dtype else value


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
