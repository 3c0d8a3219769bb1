"""Frozen dataclasses as JSON and back, by their annotations; NaN is null, so that any program can read it."""

import dataclasses
import json
import math
import typing
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cattrs
from cattrs.cols import homogenous_tuple_structure_factory
from cattrs.gen import make_dict_structure_fn
from cattrs.strategies import configure_union_passthrough

from prism_jax.atomic import atomic_write

SCALARS = {bool: bool, int: int, str: str, float: int | float}  # annotation -> what JSON may hold


def strict_converter() -> cattrs.Converter:
    """A converter without coercion: it turns no string into a number and no text into a tuple."""
    converter = cattrs.Converter(forbid_extra_keys=True, unstruct_collection_overrides={tuple: list})
    configure_union_passthrough(bool | int | float | str | None, converter)
    for kind in SCALARS:
        converter.register_structure_hook(kind, lambda value, _, kind=kind: scalar(value, kind))
    is_tuple = lambda kind: typing.get_origin(kind) is tuple

    @converter.register_structure_hook_factory(is_tuple)
    def _tuple(kind: Any) -> Callable:
        kinds = typing.get_args(kind)
        each = homogenous_tuple_structure_factory(kind, converter) if kinds[-1] is Ellipsis else None

        def structure(value: Any, _: Any) -> tuple:
            if not isinstance(value, list):
                raise ValueError(f"{value!r} is not a list")
            if each is not None:
                return each(value, kind)
            return tuple(converter.structure(item, kind) for item, kind in zip(value, kinds, strict=True))

        return structure

    return converter


def scalar(value: Any, kind: type) -> Any:
    """`value` if JSON's type is the one that `kind` is written as; ValueError otherwise."""
    if not isinstance(value, SCALARS[kind]) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{value!r} is not of type {kind.__name__}")
    return kind(value)


def reasons(error: Exception) -> str:
    """The values that a converter refused and where they are, in one line."""
    return "; ".join(cattrs.transform_error(error, path="", format_exception=lambda reason, _: str(reason))).replace(
        " @ .", " at "
    )


def encode(value: Any) -> Any:
    """`value` as JSON types."""
    return _RECORDS.unstructure(value)


def decode(kind: Any, value: Any, *, is_complete: bool = True) -> Any:
    """The value of type `kind` that `encode` wrote; unless `is_complete`, fields that are missing have their defaults.

    Raises:
      ValueError: a field that is missing, unknown, or of another type; the message names it.
    """
    try:
        return (_RECORDS if is_complete else _PARTIAL).structure(value, kind)
    except (cattrs.BaseValidationError, cattrs.StructureHandlerNotFoundError) as error:
        raise ValueError(reasons(error)) from None


def write(content: Mapping[str, Any], path: str | Path) -> None:
    """Writes JSON to `path`, whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def _reader(converter: cattrs.Converter, is_complete: bool, kind: type) -> Callable:
    """Reads a dataclass with its own fields alone, with all of them if `is_complete`."""
    fill, names = make_dict_structure_fn(kind, converter), {field.name for field in dataclasses.fields(kind)}

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict) or value.keys() - names or (is_complete and value.keys() != names):
            got = sorted(value) if isinstance(value, dict) else value
            raise ValueError(f"{kind.__name__} has the fields {sorted(names)}, got {got}")
        return fill(value, kind)

    return structure


_RECORDS, _PARTIAL = strict_converter(), strict_converter()
_RECORDS.register_structure_hook_factory(dataclasses.is_dataclass, partial(_reader, _RECORDS, True))
_PARTIAL.register_structure_hook_factory(dataclasses.is_dataclass, partial(_reader, _PARTIAL, False))
_RECORDS.register_structure_hook(float, lambda value, _: math.nan if value is None else scalar(value, float))
_RECORDS.register_unstructure_hook(float, lambda value: float(value) if math.isfinite(value) else None)
