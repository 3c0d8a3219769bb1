"""Builds a data set with its configuration written as plain options, those of `ingest` and `policy` included."""

import dataclasses
from pathlib import Path

from prism_jax.data.sources import build as builder


def build(name: str, source: Path | None, out: Path, **options) -> builder.Built:
    """`build` with the fields `options` of the configuration and of the configurations in it."""
    fields = {}
    for field in dataclasses.fields(builder.CONFIGS[name]):
        if dataclasses.is_dataclass(field.default):
            inner = {one.name for one in dataclasses.fields(field.default)} & options.keys()
            fields[field.name] = dataclasses.replace(field.default, **{name: options.pop(name) for name in inner})
    return builder.build(name, source, out, builder.CONFIGS[name](**options, **fields))
