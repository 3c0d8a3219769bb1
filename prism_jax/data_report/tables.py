"""The tables of a data report, every share and correlation with its interval."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from prism_jax.data_report.counts import UNKNOWN, Distribution
from prism_jax.data_report.links import Association
from prism_jax.data_report.survey import MOST_PAIRS, Survey
from prism_jax.report import Column, Table
from prism_jax.stats.intervals import wilson

MOST_ROWS = 60  # pairs of attributes in the table; report.json has all
SMALLEST_P = 0.001


def tables(survey: Survey) -> Iterable[Table]:
    """All tables, links first."""
    yield _links_table(survey)
    yield _findings_table(survey)
    yield _splits_table(survey)
    yield _known_table(survey)
    yield from (_distribution_table(one) for one in survey.distributions if one.by == "split")
    yield _duplicates_table(survey)
    yield _marks_table(survey)


def _links_table(survey: Survey) -> Table:
    compared = [one for one in survey.associations if not one.reason]
    size = lambda estimate: -abs(np.nan_to_num(estimate.value))
    order = lambda one: (not one.is_linked_adjusted, not one.is_linked, size(one.adjusted), size(one.correlation))
    rows = [_link_row(one) for one in sorted(compared, key=order)[:MOST_ROWS]]
    level = survey.config.level
    left = f" The other {len(compared) - MOST_ROWS} pairs are in report.json." if len(compared) > MOST_ROWS else ""
    note = (
        f"Cells: images with both / the first only / the second only / neither, where both are known. Intervals are "
        f"{level:.0%}, by patients (cluster-robust); n: patients. p is Holm's over all {len(compared)} pairs: linked "
        f"is what has at most {1 - level:.2g}; the chance of even one false link is no more than that. Adjusted: "
        f"partial correlation where the covariates are known too.{left} {_not_compared(survey)}"
    )
    columns = (
        "Pair",
        "and",
        "Correlation",
        "p (Holm)",
        "Adjusted correlation",
        "p (Holm), adjusted",
        "Adjusted for",
        "Verdict",
        "Odds ratio",
        "Cells",
    )
    return Table(title="What goes together", columns=columns, rows=tuple(rows), note=note.strip())


def _link_row(one: Association) -> tuple:
    verdict = None
    if one.is_linked_adjusted:
        verdict = "linked" if one.is_linked else "linked after adjustment"
    elif one.is_linked:
        verdict = "linked; adjusted, not beyond chance" if one.adjusted.count else "linked; too few to adjust"
    return (
        one.first,
        one.second,
        one.correlation,
        _p(one.p),
        one.adjusted if one.adjusted.count else None,
        _p(one.adjusted_p),
        ", ".join(one.adjusted_for) or None,
        verdict,
        one.odds_ratio if one.odds_ratio.count else None,
        None if one.cells is None else " / ".join(f"{count:,}" for count in one.cells),
    )


def _not_compared(survey: Survey) -> str:
    reasons = Counter(one.reason.partition(":")[0] for one in survey.associations if one.reason)
    if not reasons:
        return ""
    names, fewest = ", ".join(sorted(reasons)), survey.config.fewest
    unmentioned = "without" if survey.config.unmentioned == "absent" else "neither"
    return (
        f"{sum(reasons.values())} pairs could not be compared: those of {names}. Each attribute needs {fewest} "
        f"patients with it and {fewest} without, and not to be mentioned counts as {unmentioned}."
    )


def _findings_table(survey: Survey) -> Table:
    splits = [one.split for one in survey.splits[:-1]]
    rows = [
        (
            one.name,
            one.present,
            one.absent,
            one.uncertain,
            one.unmentioned,
            one.of_all,
            *(
                # Where nobody is ever said to be without it, 100 % of those told would mean nothing.
                share if share.count and one.prevalence.value < 1 else None
                for share in (one.prevalence, *(one.by_split[split] for split in splits))
            ),
        )
        for one in survey.findings
    ]
    told = ("Present, of those told", *(f"Of those told, {split}" for split in splits))
    shares = [Column(name=name, unit="%") for name in ("Present, of all", *told)]
    return Table(
        title="Findings",
        columns=("Finding", "Present", "Absent", "Uncertain", "Unmentioned", *shares),
        rows=tuple(rows),
        note="Of those told: of the images that say either way; a finding that is never said to be absent has none. "
        "Wilson's intervals for as many images as the patients are worth; n: patients.",
    )


def _splits_table(survey: Survey) -> Table:
    span = lambda sides: " / ".join(f"{side:,}" for side in sides)
    rows = [
        (one.split, one.images, one.patients, one.studies or None, span(one.height), span(one.width))
        for one in survey.splits
    ]
    columns = ("Split", "Images", "Patients", "Studies", "Height, pixels", "Width, pixels")
    shared = f"Patients in more than one split: {survey.shared_patients}."
    note = f"Heights and widths of the originals: least / median / greatest. {shared}"
    return Table(title="Splits", columns=columns, rows=tuple(rows), note=note)


def _known_table(survey: Survey) -> Table:
    splits, views = list(survey.known[0].by_split), list(survey.known[0].by_view)
    share = lambda pair: pair[0] / pair[1] if pair[1] else None
    rows = [
        (
            one.name,
            one.images,
            one.images / one.of,
            *(share(one.by_split[split]) for split in splits),
            *(share(one.by_view[view]) for view in views),
        )
        for one in survey.known
    ]
    shares = ["All", *splits, *(f"View {view}" for view in views)]
    return Table(
        title="What is known",
        columns=("Of the image", "Images", *(Column(name=name, unit="%") for name in shares)),
        rows=tuple(rows),
        note="Share of images of which it is known; a finding is known where it is present, absent or uncertain.",
    )


def _distribution_table(one: Distribution) -> Table:
    totals = {series: sum(counts.values()) for series, counts in one.counts.items()}
    categories = list(next(iter(one.counts.values())))
    rows = [
        (category, *(wilson(counts[category], totals[series]) for series, counts in one.counts.items()))
        for category in sorted(categories, key=lambda name: name == UNKNOWN)
    ]
    columns = (one.attribute.capitalize(), *(Column(name=series, unit="%") for series in one.counts))
    return Table(
        title=f"{one.attribute} by split", columns=columns, rows=tuple(rows), note="Wilson's intervals, by images."
    )


def _duplicates_table(survey: Survey) -> Table:
    places = {True: "within a split", False: "across splits"}
    counts = Counter((pair.is_one_patient, pair.splits[0] == pair.splits[1]) for pair in survey.duplicates)
    rows = [
        ("one patient" if one else "two patients", *(counts[one, same] for same in places)) for one in (True, False)
    ]
    cut = f" The search ended at {MOST_PAIRS:,} pairs; there are more." if survey.has_more_duplicates else ""
    note = (
        f"Pairs of images whose levelled thumbnails correlate by {survey.config.similarity} or more: another size, "
        f"compression, brightness or contrast. Mirrored copies and large crops are not found.{cut}"
    )
    columns = ("Pairs of", *(name.capitalize() for name in places.values()))
    return Table(title="Near duplicates", columns=columns, rows=tuple(rows), note=note)


def _marks_table(survey: Survey) -> Table:
    counts = Counter(one.split for one in survey.marked)
    rows = [
        (one.split, wilson(counts[one.split] if one.split != "all" else len(survey.marked), one.images))
        for one in survey.splits
    ]
    note = (
        "Bright, sharp-edged pieces of the size of letters near the border: side markers, dates, names, arrows. "
        "Electrodes and clips near the border may be among them; small and dark print is not. n: images."
    )
    columns = ("Split", Column(name="Images with marks", unit="%"))
    return Table(title="Burned-in marks suspected", columns=columns, rows=tuple(rows), note=note)


def _p(value: float) -> str | None:
    if np.isnan(value):
        return None
    return f"< {SMALLEST_P}" if value < SMALLEST_P else f"{value:.3f}" if value < 0.995 else "1"
