"""`prism data build`: writes a data set that training and evaluation read."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from prism_jax.data.sources.build import build
from prism_jax.data.sources.chexpert import ChexpertConfig
from prism_jax.data.sources.folder import FolderConfig
from prism_jax.data.sources.mimic_cxr import MimicConfig
from prism_jax.data.sources.nih import NihConfig
from prism_jax.data.sources.phantom import PhantomConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chexpert:
    """CheXpert-v1.0 or CheXpert-v1.0-small."""

    source: Path
    """Folder that holds train.csv and valid.csv."""
    out: Path
    """New folder for the data set."""
    config: tyro.conf.OmitArgPrefixes[ChexpertConfig] = ChexpertConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class MimicCxr:
    """MIMIC-CXR-JPG."""

    source: Path
    """Folder that holds the tables and files/."""
    out: Path
    """New folder for the data set."""
    config: tyro.conf.OmitArgPrefixes[MimicConfig] = MimicConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nih:
    """ChestX-ray14 of the NIH Clinical Center."""

    source: Path
    """Folder that holds Data_Entry_2017_v2020.csv and the images."""
    out: Path
    """New folder for the data set."""
    config: tyro.conf.OmitArgPrefixes[NihConfig] = NihConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
    """X-rays of your own: a table with one row per image, and files of images."""

    source: Path
    """Folder that holds the table and the images."""
    out: Path
    """New folder for the data set."""
    config: tyro.conf.OmitArgPrefixes[FolderConfig] = FolderConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phantom:
    """Drawn X-rays with a known structural causal model."""

    out: Path
    """New folder for the data set."""
    config: tyro.conf.OmitArgPrefixes[PhantomConfig] = PhantomConfig()


NAMES = {Chexpert: "chexpert", MimicCxr: "mimic_cxr", Nih: "nih", Folder: "folder", Phantom: "phantom"}
Options = (
    Annotated[Chexpert, tyro.conf.subcommand("chexpert")]
    | Annotated[MimicCxr, tyro.conf.subcommand("mimic_cxr")]
    | Annotated[Nih, tyro.conf.subcommand("nih")]
    | Annotated[Folder, tyro.conf.subcommand("folder")]
    | Annotated[Phantom, tyro.conf.subcommand("phantom")]
)


def run(options: Chexpert | MimicCxr | Nih | Folder | Phantom) -> int:
    """Builds the data set and prints what it holds and what was left out; returns the exit code."""
    print(build(NAMES[type(options)], getattr(options, "source", None), options.out, options.config))
    return 0
