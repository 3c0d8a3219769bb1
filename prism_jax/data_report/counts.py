"""Counts of a data set: images by split, completeness of attributes, distributions, findings."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from prism_jax.data_report import scan, variables
from prism_jax.data_report.scan import ImageRecord
from prism_jax.stats import associations
from prism_jax.stats.intervals import Estimate

UNKNOWN = "unknown"
DECADE = 10  # years of an age band
MAX_VIEWS = 4  # views, of the commonest, with a completeness of their own


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitCount:
    """One split, or "all"."""

    split: str
    images: int
    patients: int
    studies: int  # 0 where unknown
    height: tuple[int, int, int]  # of the originals, pixels: minimum, median, maximum
    width: tuple[int, int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Completeness:
    """Number of images with a known value of one attribute, overall, by split and by view."""

    name: str  # "age", "sex", ..., or a finding: mentioned as present, absent or uncertain
    images: int
    of: int
    by_split: Mapping[str, tuple[int, int]]  # (known, of)
    by_view: Mapping[str, tuple[int, int]]  # the commonest views


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distribution:
    """Images by category, one series per split or sex."""

    attribute: str  # "age", "sex", "view", "race"
    by: str  # "split" or "sex"
    counts: Mapping[str, Mapping[str, int]]  # series -> category -> images; all series have all categories


@dataclasses.dataclass(frozen=True, kw_only=True)
class FindingCount:
    """Images with one finding by state, and fractions with intervals; `count` of an estimate is its patients."""

    name: str
    present: int
    absent: int
    uncertain: int
    unmentioned: int
    of_all: Estimate  # fraction of all images labelled present
    prevalence: Estimate  # fraction of present among present and absent, by the survey's coding
    by_split: Mapping[str, Estimate]  # the same in each split


def split_counts(images: Sequence[ImageRecord]) -> tuple[SplitCount, ...]:
    """Counts of each split, then of "all"."""
    names = dict.fromkeys(image.split for image in images)
    groups = [[image for image in images if image.split == name] for name in names]
    return tuple(map(_split, (*names, "all"), (*groups, images)))


def shared_patients(images: Sequence[ImageRecord]) -> int:
    """Patients with images in more than one split; 0 in a patient-level split."""
    pairs = {(image.patient, image.split) for image in images if image.patient}
    return sum(count > 1 for count in Counter(patient for patient, _ in pairs).values())


def completeness(images: Sequence[ImageRecord]) -> tuple[Completeness, ...]:
    """Completeness of age, sex, view, race, study, text, pixel spacing, masks and every finding."""
    slots = ("age", "sex", "view", "race")
    columns = {name: [getattr(image.attributes, name) is not None for image in images] for name in slots}
    columns["study"] = [bool(image.study) for image in images]
    columns["text"] = [image.has_text for image in images]
    columns["pixel spacing"] = [image.has_spacing for image in images]
    columns["masks"] = [image.has_masks for image in images]
    for name in variables.findings([image.attributes for image in images]):
        columns[name] = [name in image.attributes.findings for image in images]
    views = Counter(image.attributes.view for image in images if image.attributes.view is not None)
    common = [view for view, _ in sorted(views.items(), key=lambda item: (-item[1], item[0]))[:MAX_VIEWS]]
    by_split = [image.split for image in images]
    by_view = [image.attributes.view for image in images]
    return tuple(
        Completeness(
            name=name,
            images=sum(column),
            of=len(images),
            by_split=_completeness_by(column, by_split, list(dict.fromkeys(by_split))),
            by_view=_completeness_by(column, by_view, common),
        )
        for name, column in columns.items()
    )


def distributions(images: Sequence[ImageRecord]) -> tuple[Distribution, ...]:
    """Distributions of age by sex and by split; of view, sex and, where known, race by split."""
    splits = [image.split for image in images]
    ages = [_band(image.attributes.age) for image in images]
    named = lambda name: [getattr(image.attributes, name) or UNKNOWN for image in images]
    is_race_known = any(image.attributes.race for image in images)
    names = ("view", "sex", "race") if is_race_known else ("view", "sex")
    return (
        _distribution("age", ages, "sex", named("sex")),
        _distribution("age", ages, "split", splits),
        *(_distribution(name, named(name), "split", splits) for name in names),
    )


def finding_counts(images: Sequence[ImageRecord], code: variables.Code) -> tuple[FindingCount, ...]:
    """Counts of all findings, the commonest first."""
    attributes = [image.attributes for image in images]
    owners, splits = scan.patients(list(images)), np.array([image.split for image in images])
    findings = []
    for name in variables.findings(attributes):
        states = Counter(each.findings.get(name, UNKNOWN) for each in attributes)
        values = np.array([code(each, name) for each in attributes])
        is_known = ~np.isnan(values)
        prevalence = lambda rows, values=values, is_known=is_known: associations.clustered_proportion(
            values[rows & is_known] == 1, owners[rows & is_known]
        )
        findings.append(
            FindingCount(
                name=name,
                present=states[True],
                absent=states[False],
                uncertain=states[None],
                unmentioned=states[UNKNOWN],
                of_all=associations.clustered_proportion(
                    np.array([each.findings.get(name) is True for each in attributes]), owners
                ),
                prevalence=prevalence(np.ones(len(images), bool)),
                by_split={split: prevalence(splits == split) for split in dict.fromkeys(splits.tolist())},
            )
        )
    return tuple(sorted(findings, key=lambda finding: (-finding.present, finding.name)))


def _split(name: str, images: Sequence[ImageRecord]) -> SplitCount:
    span = lambda sides: (int(np.min(sides)), int(np.median(sides)), int(np.max(sides)))
    return SplitCount(
        split=name,
        images=len(images),
        patients=len(np.unique(scan.patients(list(images)))),
        studies=len({(image.patient, image.study) for image in images if image.study}),
        height=span([image.height for image in images]),
        width=span([image.width for image in images]),
    )


def _completeness_by(
    column: list[bool], names: Sequence[str | None], wanted: Sequence[str]
) -> dict[str, tuple[int, int]]:
    hits, totals = Counter(n for n, is_known in zip(names, column, strict=True) if is_known), Counter(names)
    return {name: (hits[name], totals[name]) for name in wanted}


def _distribution(attribute: str, values: Sequence[str], by: str, series: Sequence[str]) -> Distribution:
    # Age bands are sorted by age, other categories alphabetically; unknown comes last.
    order = sorted(set(values), key=lambda value: (value == UNKNOWN, len(value) if attribute == "age" else 0, value))
    pairs = Counter(zip(series, values, strict=True))
    names = dict.fromkeys(series) if by == "split" else sorted(set(series), key=lambda name: (name == UNKNOWN, name))
    counts = {name: {value: pairs[name, value] for value in order} for name in names}
    return Distribution(attribute=attribute, by=by, counts=counts)


def _band(age: float | None) -> str:
    if age is None:
        return UNKNOWN
    low = int(age // DECADE) * DECADE
    return f"{low} to {low + DECADE - 1}"
