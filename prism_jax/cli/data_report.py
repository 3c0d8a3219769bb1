"""`prism data report`: the content of a built data set, as a page and as JSON."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from prism_jax import report
from prism_jax.data_report import images, survey
from prism_jax.data_report import report as survey_report


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Reports counts, completeness, pairwise associations, near duplicates and burned-in text of a built data set."""

    folder: tyro.conf.Positional[Path]
    """Data set that `prism data build` made."""
    out: Path
    """Folder for report.html and report.json."""
    config: Annotated[survey.SurveyConfig, tyro.conf.arg(name="")] = survey.SurveyConfig()


def run(options: Options) -> int:
    """Writes the report and prints where it is; returns the exit code."""
    result, records = survey.survey(options.folder, options.config)
    html = options.out / "report.html"
    samples = images.samples(options.folder, result, records)
    report.write(survey_report.report_of(result, samples), html)
    survey.write(result, options.out / survey.FILE_NAME)
    print(
        f"{html}: report on {result.splits[-1].images} images, open it in a browser; as JSON: "
        f"{options.out / survey.FILE_NAME}"
    )
    return 0
