"""The report of a data set survey."""

import dataclasses

import numpy as np

from prism_jax import report
from prism_jax.data_report import tables
from prism_jax.data_report.counts import Distribution
from prism_jax.data_report.survey import Survey
from prism_jax.report import Bars, Matrix
from prism_jax.report.tables import number

NOTICE = (
    "This page contains images and data of patients and falls under the terms of the data set. Associations are those "
    "of this data set, not causes. For research, not for diagnosis."
)
CONSEQUENCE = (
    "A model trained on these images may not separate associated attributes: an edit of one can change the other. Read "
    "the table of associations before judging its edits."
)


def report_of(survey: Survey, samples: tuple[report.Sample, ...]) -> report.Report:
    """The report of a survey with these images."""
    return report.Report(
        title=f"Data report: {survey.data}",
        summary=_summary(survey),
        headline=_headline(survey),
        look_first=_look_first(survey),
        samples=samples,
        charts=_charts(survey),
        tables=tuple(tables.tables(survey)),
        settings={"survey": dataclasses.asdict(survey.config), "built": survey.built},
        versions=report.versions(),
        notice=NOTICE,
    )


def _summary(survey: Survey) -> str:
    every, pairs = survey.splits[-1], survey.associations
    compared, significant = sum(not pair.reason for pair in pairs), sum(pair.is_significant for pair in pairs)
    return (
        f"{every.images:,} images of {every.patients:,} patients; {compared:,} of {len(pairs):,} pairs of attributes "
        f"could be compared, and {significant:,} of these are significantly associated."
    )


def _look_first(survey: Survey) -> tuple[str, ...]:
    """The strongest association, the number of pairs not compared, and the consequence for edits."""
    return tuple(filter(None, (_strongest(survey), tables.not_compared(survey), CONSEQUENCE)))


def _strongest(survey: Survey) -> str:
    significant = [pair for pair in survey.associations if pair.is_significant]
    if not significant:
        is_any_compared = any(not pair.reason for pair in survey.associations)
        return "No compared pair is significantly associated." if is_any_compared else ""
    pair = max(significant, key=lambda pair: abs(pair.correlation.value))
    value, low, high = (number(x) for x in (pair.correlation.value, pair.correlation.low, pair.correlation.high))
    return (
        f"The strongest association is between {pair.first} and {pair.second}: correlation {value} "
        f"({survey.config.level:.0%} interval {low} to {high})."
    )


def _headline(survey: Survey) -> tuple[tuple[str, str], ...]:
    every = survey.splits[-1]
    compared = sum(not pair.reason for pair in survey.associations)
    more = "+" if survey.has_more_duplicates else ""
    across = sum(pair.splits[0] != pair.splits[1] for pair in survey.duplicates)
    patients = sum(not pair.is_one_patient for pair in survey.duplicates)
    significant = sum(pair.is_significant for pair in survey.associations)
    adjusted = sum(pair.is_significant_adjusted for pair in survey.associations)
    left = len(survey.associations) - compared
    says = (
        f"compared pairs of attributes significantly associated; {adjusted} after adjustment; {left} pairs not compared"
    )
    return (
        (f"{every.images:,}", f"images of {every.patients:,} patients in {len(survey.splits) - 1} splits"),
        (f"{survey.shared_patients:,}", "patients in more than one split"),
        (f"{significant} of {compared}", says),
        (
            f"{len(survey.duplicates):,}{more}",
            f"near-duplicate pairs: {patients} of different patients, {across} across splits",
        ),
        (f"{len(survey.burned_in_text):,}", "images with suspected burned-in text"),
    )


def _charts(survey: Survey) -> tuple[Bars | Matrix, ...]:
    charts: list[Bars | Matrix] = []
    compared = [pair for pair in survey.associations if not pair.reason]
    if names := list(dict.fromkeys(name for pair in compared for name in (pair.first, pair.second))):
        charts.append(_correlations(survey, names))
    if len(survey.findings) > 1:
        charts.append(_cooccurrence(survey))
    titles = {("age", "sex"): "Age and sex", ("view", "split"): "View by split", ("race", "split"): "Race by split"}
    by = {(distribution.attribute, distribution.by): distribution for distribution in survey.distributions}
    return (*charts, *(_bars(title, by[key]) for key, title in titles.items() if key in by))


def _bars(title: str, distribution: Distribution) -> Bars:
    series = {
        {"M": "men", "F": "women"}.get(name, name): tuple(counts.values())
        for name, counts in distribution.counts.items()
    }
    categories = tuple(next(iter(distribution.counts.values())))
    return Bars(title=title, categories=categories, y=series)


def _correlations(survey: Survey, names: list[str]) -> Matrix:
    values = np.full((len(names), len(names)), np.nan)
    for pair in survey.associations:
        if not pair.reason:
            i, j = sorted((names.index(pair.first), names.index(pair.second)))
            values[j, i], values[i, j] = pair.correlation.value, pair.adjusted.value
    return Matrix(
        title="Correlations of attributes",
        names=tuple(names),
        values=values,
        note="Below the diagonal unadjusted, above it adjusted for view, age and sex. Blank: not compared, or too few "
        "patients. Intervals are in the tables.",
    )


def _cooccurrence(survey: Survey) -> Matrix:
    names = tuple(finding.name for finding in survey.findings)
    values = np.diag([float(finding.present) for finding in survey.findings])
    for pair in survey.associations:
        if pair.kinds == ("finding", "finding"):
            i, j = names.index(pair.first), names.index(pair.second)
            values[i, j] = values[j, i] = pair.cells[0]
    return Matrix(
        title="Findings present together",
        names=names,
        values=values,
        is_count=True,
        note="Images in which both are present; on the diagonal, all images with the finding.",
    )
