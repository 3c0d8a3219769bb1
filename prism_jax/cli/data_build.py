"""`prism data build`: writes a data set that training and evaluation read."""

import dataclasses
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import tyro

from prism_jax.data.sources.build import CONFIGS, build
from prism_jax.data.sources.chexpert import ChexpertConfig
from prism_jax.data.sources.folder import FolderConfig
from prism_jax.data.sources.mimic_cxr import MimicConfig
from prism_jax.data.sources.nih import NihConfig
from prism_jax.data.sources.phantom import PhantomConfig

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromSource(Generic[Config]):
    """A data set from a folder with a table and images."""

    source: Path
    """Folder that holds the table and the images; nothing is written to it."""
    out: Path
    """New folder for the data set."""
    config: tyro.conf.OmitArgPrefixes[Config]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generated:
    """A data set of the phantom."""

    out: Path
    """New folder for the data set."""
    config: tyro.conf.OmitArgPrefixes[PhantomConfig] = PhantomConfig()


def _command(name: str, description: str) -> object:
    return tyro.conf.subcommand(name, description=description)


Options = (
    Annotated[
        FromSource[ChexpertConfig],
        _command("chexpert", "CheXpert-v1.0 or CheXpert-v1.0-small; SOURCE holds train.csv and valid.csv."),
    ]
    | Annotated[
        FromSource[MimicConfig],
        _command("mimic_cxr", "MIMIC-CXR-JPG; SOURCE holds the tables and files/."),
    ]
    | Annotated[
        FromSource[NihConfig],
        _command("nih", "ChestX-ray14 of the NIH; SOURCE holds Data_Entry_2017_v2020.csv and the images."),
    ]
    | Annotated[
        FromSource[FolderConfig],
        _command("folder", "X-rays of your own: SOURCE holds a table with one row per image, and image files."),
    ]
    | Annotated[Generated, _command("phantom", "Synthetic X-rays from a known structural causal model.")]
)


def run(options: FromSource | Generated) -> int:
    """Builds the data set and prints its content, the rows left out and the next command; returns the exit code."""
    name = next(name for name, config in CONFIGS.items() if type(options.config) is config)
    print(build(name, getattr(options, "source", None), options.out, options.config))
    print(f"next: prism data report {options.out} --out {options.out}-report")
    return 0
