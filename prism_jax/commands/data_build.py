"""`prism data build`: writes a data set that training and evaluation read."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from prism_jax.data.build import build
from prism_jax.data.folder import FolderConfig
from prism_jax.data.phantom_dataset import PhantomConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
    """X-rays of your own: a CSV with one row per image, and PNG or JPEG files."""

    source: Path
    """Folder that holds the CSV and the images."""
    out: Path
    """New folder for the data set."""
    config: tyro.conf.OmitArgPrefixes[FolderConfig] = FolderConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phantom:
    """Drawn X-rays with a known structural causal model."""

    out: Path
    """New folder for the data set."""
    config: tyro.conf.OmitArgPrefixes[PhantomConfig] = PhantomConfig()


Options = Annotated[Folder, tyro.conf.subcommand("folder")] | Annotated[Phantom, tyro.conf.subcommand("phantom")]


def run(options: Folder | Phantom) -> int:
    """Builds the data set and prints what it holds and what was skipped; returns the exit code."""
    name = "folder" if isinstance(options, Folder) else "phantom"
    config = {field.name: getattr(options.config, field.name) for field in dataclasses.fields(options.config)}
    print(build(name, getattr(options, "source", None), options.out, **config))
    return 0
