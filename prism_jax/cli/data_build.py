"""`prism data build`: writes a data set that training and evaluation read."""

import dataclasses
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import tyro

from prism_jax.data.sources.build import CONFIGS, build
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


_SOURCES = {
    "chexpert": "CheXpert-v1.0 or CheXpert-v1.0-small; SOURCE holds train.csv and valid.csv.",
    "mimic_cxr": "MIMIC-CXR-JPG; SOURCE holds the tables and files/.",
    "nih": "ChestX-ray14 of the NIH; SOURCE holds Data_Entry_2017_v2020.csv and the images.",
    "folder": "X-rays of your own: SOURCE holds a table with one row per image, and image files.",
}
_PHANTOM = tyro.conf.subcommand("phantom", description="Synthetic X-rays from a known structural causal model.")
Options = Annotated[Generated, _PHANTOM]
for _name, _text in reversed(_SOURCES.items()):
    Options = Annotated[FromSource[CONFIGS[_name]], tyro.conf.subcommand(_name, description=_text)] | Options


def run(options: FromSource | Generated) -> int:
    """Builds the data set and prints its content, the rows left out and the next command; returns the exit code."""
    name = next(name for name, config in CONFIGS.items() if type(options.config) is config)
    print(build(name, getattr(options, "source", None), options.out, options.config))
    print(f"next: prism data report {options.out} --out {options.out}-report")
    return 0
