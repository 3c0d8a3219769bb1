"""`prism report`: runs side by side, on one page and as JSON and CSV."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from prism_jax import report
from prism_jax.report import comparison, runs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Compares runs of any program: one page, and its tables as JSON and CSV.

    The page shows the settings that differ, all metrics with their intervals in one table, images of the same
    subjects side by side, and overlaid training curves.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, of one or more programs; a single one gets a page of its own."""
    out: Path = Path("comparison")
    """Folder for report.html, metrics.json and metrics.csv."""
    config: Annotated[comparison.ComparisonConfig, tyro.conf.arg(name="")] = comparison.ComparisonConfig()


def run(options: Options) -> int:
    """Writes the page and prints where it is; returns the exit code."""
    if any(options.out.resolve() == folder.resolve() for folder in options.folders):
        raise ValueError(f"out {options.out} is one of the runs and would lose its own report; name another folder")
    read = runs.read_all(options.folders)
    document = comparison.compare(read, options.config)
    html = report.save(document, options.out)
    print(f"{html}: {', '.join(run.name for run in read)}; as JSON: {options.out / 'metrics.json'}")
    return 0
