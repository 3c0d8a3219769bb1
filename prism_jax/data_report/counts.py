"""How many images have what: by split, and how often each attribute is known at all."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from prism_jax.data_report import scan, variables
from prism_jax.data_report.scan import Seen
from prism_jax.stats import associations
from prism_jax.stats.intervals import Estimate

UNKNOWN = "unknown"
DECADE = 10  # years of an age band
MOST_VIEWS = 4  # views that missingness is told for


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitCount:
    """One split, or "all"."""

    split: str
    images: int
    patients: int
    studies: int  # those that are known
    height: tuple[int, int, int]  # of the originals, pixels: least, median, greatest
    width: tuple[int, int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """Images of which something is known, of all and by split and view."""

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
    """One finding: images by state, and shares with their intervals, whose count is that of patients."""

    name: str
    present: int
    absent: int
    uncertain: int
    unmentioned: int
    of_all: Estimate  # share of all images that are said to show it
    prevalence: Estimate  # share among those that say either way, by the survey's coding
    by_split: Mapping[str, Estimate]  # the same in each split


def split_counts(images: Sequence[Seen]) -> tuple[SplitCount, ...]:
    """Each split, then "all" of them."""
    groups = {**_grouped(images, [one.split for one in images]), "all": list(images)}
    return tuple(_split(name, group) for name, group in groups.items())


def shared_patients(images: Sequence[Seen]) -> int:
    """Patients with images in more than one split; there should be none."""
    known = {(one.patient, one.split) for one in images if one.patient}
    return sum(count > 1 for count in Counter(patient for patient, _ in known).values())


def known(images: Sequence[Seen]) -> tuple[Known, ...]:
    """What is known of how many images."""
    columns = {name: [getattr(one.attributes, name) is not None for one in images] for name in ("age", "sex", "view")}
    columns["race"] = [one.attributes.race is not None for one in images]
    columns["study"] = [bool(one.study) for one in images]
    columns["text"] = [one.has_text for one in images]
    columns["pixel spacing"] = [one.has_spacing for one in images]
    columns["masks"] = [one.has_masks for one in images]
    for name in variables.findings([one.attributes for one in images]):
        columns[name] = [name in one.attributes.findings for one in images]
    views = Counter(one.attributes.view for one in images if one.attributes.view is not None)
    common = [view for view, _ in sorted(views.items(), key=lambda item: (-item[1], item[0]))[:MOST_VIEWS]]
    by_split = [one.split for one in images]
    by_view = [one.attributes.view for one in images]
    return tuple(
        Known(
            name=name,
            images=sum(column),
            of=len(images),
            by_split=_shares(column, by_split, list(dict.fromkeys(by_split))),
            by_view=_shares(column, by_view, common),
        )
        for name, column in columns.items()
    )


def distributions(images: Sequence[Seen]) -> tuple[Distribution, ...]:
    """Age by sex and by split; view, sex, and race where it is known, by split."""
    splits = [one.split for one in images]
    ages = [_band(one.attributes.age) for one in images]
    named = lambda name: [getattr(one.attributes, name) or UNKNOWN for one in images]
    found = [_distribution("age", ages, "sex", named("sex")), _distribution("age", ages, "split", splits)]
    found += [_distribution(name, named(name), "split", splits) for name in ("view", "sex", "race")]
    return tuple(one for one in found if one.attribute != "race" or any(map(_is_told, one.counts.values())))


def finding_counts(images: Sequence[Seen], coding: variables.Coding) -> tuple[FindingCount, ...]:
    """All findings, the commonest first."""
    attributes = [one.attributes for one in images]
    owners, splits = scan.patients(list(images)), np.array([one.split for one in images])
    found = []
    for name in variables.findings(attributes):
        states = Counter(one.findings.get(name, UNKNOWN) for one in attributes)
        values = np.array([coding.value(one, name) for one in attributes])
        told = ~np.isnan(values)
        prevalence = lambda rows, values=values, told=told: associations.clustered_proportion(
            values[rows & told] == 1, owners[rows & told]
        )
        found.append(
            FindingCount(
                name=name,
                present=states[True],
                absent=states[False],
                uncertain=states[None],
                unmentioned=states[UNKNOWN],
                of_all=associations.clustered_proportion(
                    np.array([one.findings.get(name) is True for one in attributes]), owners
                ),
                prevalence=prevalence(np.ones(len(images), bool)),
                by_split={split: prevalence(splits == split) for split in dict.fromkeys(splits.tolist())},
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.present, one.name)))


def _split(name: str, images: Sequence[Seen]) -> SplitCount:
    span = lambda sides: (int(np.min(sides)), int(np.median(sides)), int(np.max(sides)))
    return SplitCount(
        split=name,
        images=len(images),
        patients=len(np.unique(scan.patients(list(images)))),
        studies=len({(one.patient, one.study) for one in images if one.study}),
        height=span([one.height for one in images]),
        width=span([one.width for one in images]),
    )


def _grouped(images: Sequence[Seen], names: Sequence[str]) -> dict[str, list[Seen]]:
    groups: dict[str, list[Seen]] = {}
    for one, name in zip(images, names, strict=True):
        groups.setdefault(name, []).append(one)
    return groups


def _shares(column: list[bool], names: Sequence[str | None], wanted: Sequence[str]) -> dict[str, tuple[int, int]]:
    hits, totals = Counter(n for n, is_known in zip(names, column, strict=True) if is_known), Counter(names)
    return {name: (hits[name], totals[name]) for name in wanted}


def _distribution(attribute: str, values: Sequence[str], by: str, series: Sequence[str]) -> Distribution:
    # Bands of age sort by their number, other categories by alphabet, what is unknown comes last.
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


def _is_told(counts: Mapping[str, int]) -> bool:
    return any(count for name, count in counts.items() if name != UNKNOWN)
