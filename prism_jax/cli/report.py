"""`prism report`: runs side by side, on one page and as JSON and CSV."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from prism_jax import report
from prism_jax.report import comparison, numbers, runs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Compares what runs of any program left in their folders.

    One page with the settings that differ, all numbers with their intervals in one table, the same subjects' pictures
    beside each other and training curves overlaid.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, of one or more programs; with one, the page is of that run."""
    out: Path = Path("comparison")
    """Folder for report.html, metrics.json and metrics.csv."""
    config: Annotated[comparison.ComparisonConfig, tyro.conf.arg(name="")] = comparison.ComparisonConfig()


def run(options: Options) -> int:
    """Writes the page and prints where it is; returns the exit code."""
    if any(options.out.resolve() == folder.resolve() for folder in options.folders):
        raise ValueError(f"out {options.out} is one of the runs, whose own report would be lost; name another folder")
    found = runs.read_all(options.folders)
    document = comparison.compare(found, options.config, report.versions())
    html = options.out / "report.html"
    report.write(document, html)
    numbers.write(document.tables, options.out / "metrics.json")
    print(f"{html}: {', '.join(run.name for run in found)}; for programs: {options.out / 'metrics.json'}")
    return 0
