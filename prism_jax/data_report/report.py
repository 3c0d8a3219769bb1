"""The page of a survey: summary, headline figures, images, charts and tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from prism_jax import report
from prism_jax.data_report import tables
from prism_jax.data_report.counts import Distribution
from prism_jax.data_report.survey import Survey
from prism_jax.report import Bars, Matrix
from prism_jax.report.tables import number

NOTICE = (
    "This page holds images and attributes of patients: it falls under the terms of the data. Associations are of this "
    "data set and not causal. For research, not for diagnosis."
)


def page(survey: Survey, samples: tuple[report.Sample, ...], versions: Mapping[str, str]) -> report.Report:
    """The report of a survey with these sample images."""
    return report.Report(
        title=f"Know your data: {survey.data}",
        summary=_summary(survey),
        headline=_headline(survey),
        samples=samples,
        charts=_charts(survey),
        tables=tuple(tables.tables(survey)),
        settings={"survey": _settings(survey), "built": survey.built},
        versions=versions,
        notice=NOTICE,
    )


def _settings(survey: Survey) -> dict[str, Any]:
    return {name: getattr(survey.config, name) for name in survey.config.__dataclass_fields__}


def _summary(survey: Survey) -> str:
    whole, significant = survey.splits[-1], [pair for pair in survey.associations if pair.is_significant]
    compared = sum(not pair.reason for pair in survey.associations)
    finding = f"None of the {compared} pairs of attributes that could be compared is significantly associated. "
    if significant:
        pair = max(significant, key=lambda pair: abs(pair.correlation.value))
        value, low, high = (number(x) for x in (pair.correlation.value, pair.correlation.low, pair.correlation.high))
        interval = f"correlation {value}, {survey.config.level:.0%} interval {low} to {high}"
        many = f"{len(significant)} pairs of attributes are significantly associated, most strongly"
        one = "One pair of attributes is significantly associated:"
        finding = f"{many if len(significant) > 1 else one} {pair.first} and {pair.second} ({interval}). "
    return (
        f"{whole.images:,} images of {whole.patients:,} patients. {finding}A model trained on these images may "
        "confuse associated attributes: read the associations below before its edits."
    )


def _headline(survey: Survey) -> tuple[tuple[str, str], ...]:
    whole = survey.splits[-1]
    compared = sum(not one.reason for one in survey.associations)
    more = "+" if survey.has_more_duplicates else ""
    across = sum(pair.splits[0] != pair.splits[1] for pair in survey.duplicates)
    patients = sum(not pair.is_one_patient for pair in survey.duplicates)
    significant = sum(one.is_significant for one in survey.associations)
    adjusted = sum(one.is_significant_adjusted for one in survey.associations)
    return (
        (f"{whole.images:,}", f"images of {whole.patients:,} patients in {len(survey.splits) - 1} splits"),
        (f"{survey.shared_patients:,}", "patients in more than one split"),
        (f"{significant}", f"significant pairs of attributes, of {compared} compared; {adjusted} after adjustment"),
        (f"{len(survey.duplicates):,}{more}", f"near duplicates, {patients} of two patients, {across} across splits"),
        (f"{len(survey.burned_in_text):,}", "images with suspected burned-in text"),
    )


def _charts(survey: Survey) -> tuple[Bars | Matrix, ...]:
    found: list[Bars | Matrix] = []
    compared = [one for one in survey.associations if not one.reason]
    if names := list(dict.fromkeys(name for one in compared for name in (one.first, one.second))):
        found.append(_correlations(survey, names))
    if len(survey.findings) > 1:
        found.append(_cooccurrence(survey))
    titles = {("age", "sex"): "Age and sex", ("view", "split"): "View by split", ("race", "split"): "Race by split"}
    by = {(one.attribute, one.by): one for one in survey.distributions}
    return (*found, *(_bars(title, by[key]) for key, title in titles.items() if key in by))


def _bars(title: str, one: Distribution) -> Bars:
    series = {{"M": "men", "F": "women"}.get(name, name): tuple(counts.values()) for name, counts in one.counts.items()}
    categories = tuple(next(iter(one.counts.values())))
    return Bars(title=title, categories=categories, y=series)


def _correlations(survey: Survey, names: list[str]) -> Matrix:
    values = np.full((len(names), len(names)), np.nan)
    for one in survey.associations:
        if not one.reason:
            i, j = sorted((names.index(one.first), names.index(one.second)))
            values[j, i], values[i, j] = one.correlation.value, one.adjusted.value
    return Matrix(
        title="Correlations of attributes",
        names=tuple(names),
        values=values,
        note="Below the diagonal unadjusted, above it adjusted for view, age and sex. Blank: not compared, or too few "
        "patients. Intervals are in the tables.",
    )


def _cooccurrence(survey: Survey) -> Matrix:
    names = tuple(one.name for one in survey.findings)
    values = np.diag([float(one.present) for one in survey.findings])
    for one in survey.associations:
        if one.kinds == ("finding", "finding"):
            i, j = names.index(one.first), names.index(one.second)
            values[i, j] = values[j, i] = one.cells[0]
    return Matrix(
        title="Findings present together",
        names=names,
        values=values,
        is_count=True,
        note="Images in which both are present; on the diagonal, all images with the finding.",
    )
