"""Frozen dataclasses as JSON and back, by their annotations; NaN is null, so that any program can read it."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prism_jax.atomic import atomic_write


def encode(value: Any) -> Any:
    """`value` as JSON's own types."""
    if dataclasses.is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"a record cannot hold {value!r}")


def decode(kind: Any, value: Any) -> Any:
    """The value of type `kind` that `encode` wrote.

    Raises:
      ValueError: a field that is missing, unknown, or of another type; the message names it.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value)
    if origin is typing.Literal and value in arguments:
        return value
    if origin in (types.UnionType, typing.Union):
        return None if value is None else decode(next(one for one in arguments if one is not type(None)), value)
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(decode(one, item) for one, item in zip(kinds, value, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, dict):
        return {key: decode(arguments[1], item) for key, item in value.items()}
    if kind is float and (value is None or _is(value, int | float)):
        return math.nan if value is None else float(value)
    if (kind in (int, str) and _is(value, kind)) or (kind is bool and isinstance(value, bool)):
        return value
    raise ValueError(f"{value!r} is not of type {kind}")


def write(content: Mapping[str, Any], path: str | Path) -> None:
    """Writes JSON to `path`, whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def _dataclass(kind: type, value: Any) -> Any:
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}
    if not isinstance(value, dict) or value.keys() != names:
        found = sorted(value) if isinstance(value, dict) else value
        raise ValueError(f"{kind.__name__} has the fields {sorted(names)}, not {found}")
    fields = {}
    for name in names:
        try:
            fields[name] = decode(hints[name], value[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return kind(**fields)


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
