"""`prism data report`: says what is in a built data set, as a page and as JSON."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from prism_jax import report
from prism_jax.data_report import images as data_report_images
from prism_jax.data_report import report as data_report_report
from prism_jax.data_report import survey


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Counts, what is missing, what goes together, near duplicates and burned-in marks of a built data set."""

    folder: tyro.conf.Positional[Path]
    """Data set that `prism data build` made."""
    out: Path
    """Folder for report.html and report.json."""
    config: Annotated[survey.SurveyConfig, tyro.conf.arg(name="")] = survey.SurveyConfig()


def run(options: Options) -> int:
    """Writes the report and prints where it is; returns the exit code."""
    made, images = survey.survey(options.folder, options.config)
    html = options.out / "report.html"
    shown = data_report_images.samples(options.folder, made, images)
    report.write(data_report_report.page(made, shown, report.versions()), html)
    survey.write(made, options.out / survey.FILE_NAME)
    print(f"{html}: {made.splits[-1].images} images; for programs: {options.out / survey.FILE_NAME}")
    return 0
