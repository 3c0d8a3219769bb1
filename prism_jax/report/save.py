"""A report in the folder of its run: the page, and its tables as JSON and CSV."""

import dataclasses
import json
from pathlib import Path

from prism_jax.report import html, numbers
from prism_jax.report.document import Report
from prism_jax.report.versions import versions

PAGE, METRICS, CONFIG = "report.html", "metrics.json", "config.json"


def save(report: Report, run: str | Path) -> Path:
    """Writes `report.html`, `metrics.json` and `metrics.csv` into the folder `run`; returns the page's path."""
    run = Path(run)
    html.write(of_run(report, run), run / PAGE)
    numbers.write(report.tables, run / METRICS)
    return run / PAGE


def of_run(report: Report, run: Path) -> Report:
    """The same with the run's `config.json` as its settings, and installed versions, where it has none."""
    if not report.settings and (run / CONFIG).is_file():
        report = dataclasses.replace(report, settings=json.loads((run / CONFIG).read_text(encoding="utf-8")))
    return report if report.versions else dataclasses.replace(report, versions=versions())
