"""The tables of a data report, every fraction and correlation with its interval."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from prism_jax.data_report.counts import Distribution
from prism_jax.data_report.pairwise_associations import Association
from prism_jax.data_report.survey import MAX_PAIRS, Survey
from prism_jax.report import Column, Table
from prism_jax.report.tables import p_value
from prism_jax.stats.intervals import wilson

MAX_ROWS = 60  # pairs of attributes in the table; report.json has all


def tables(survey: Survey) -> Iterable[Table]:
    """All tables, associations first."""
    yield _associations_table(survey)
    yield _findings_table(survey)
    yield _splits_table(survey)
    yield _completeness_table(survey)
    yield from (
        _distribution_table(distribution) for distribution in survey.distributions if distribution.by == "split"
    )
    yield _duplicates_table(survey)
    yield _text_table(survey)


def _associations_table(survey: Survey) -> Table:
    compared = [pair for pair in survey.associations if not pair.reason]
    size = lambda estimate: -abs(np.nan_to_num(estimate.value))
    order = lambda pair: (
        not pair.is_significant_adjusted,
        not pair.is_significant,
        size(pair.adjusted),
        size(pair.correlation),
    )
    rows = [_association_row(pair) for pair in sorted(compared, key=order)[:MAX_ROWS]]
    level = survey.config.level
    rest = f" The other {len(compared) - MAX_ROWS} pairs are in report.json." if len(compared) > MAX_ROWS else ""
    note = (
        f"Cells: images with both / the first only / the second only / neither, where both are known. Intervals are "
        f"{level:.0%}, by patients (cluster-robust); n: patients. p is Holm-corrected over all {len(compared)} "
        f"pairs; significant: at most {1 - level:.2g}, bounds the chance of even one false association. Adjusted: "
        f"partial correlation where the covariates are known too.{rest} {not_compared(survey)}"
    )
    columns = (
        "First attribute",
        "Second attribute",
        "Correlation",
        "p (Holm)",
        "Adjusted correlation",
        "p (Holm), adjusted",
        "Adjusted for",
        "Verdict",
        "Odds ratio",
        "Cells",
    )
    return Table(title="Pairwise associations", columns=columns, rows=tuple(rows), note=note.strip())


def _association_row(pair: Association) -> tuple:
    verdict = None
    if pair.is_significant_adjusted:
        verdict = "significant" if pair.is_significant else "significant after adjustment"
    elif pair.is_significant:
        verdict = "significant; not after adjustment" if pair.adjusted.count else "significant; too few to adjust"
    return (
        pair.first,
        pair.second,
        pair.correlation,
        p_value(pair.p),
        pair.adjusted if pair.adjusted.count else None,
        p_value(pair.adjusted_p),
        ", ".join(pair.adjusted_for) or None,
        verdict,
        pair.odds_ratio if pair.odds_ratio.count else None,
        None if pair.cells is None else " / ".join(f"{count:,}" for count in pair.cells),
    )


def not_compared(survey: Survey) -> str:
    """Pairs left out, and how to include findings that captions never state as absent; "" where all are compared."""
    left = [pair.reason.partition(":")[0] for pair in survey.associations if pair.reason]
    if not left:
        return ""
    text = (
        f"{len(left):,} of {len(survey.associations):,} pairs were not compared, so nothing is known about them: those "
        f"of {', '.join(sorted(set(left)))}. Each attribute needs {survey.config.min_patients} patients with it and "
        f"{survey.config.min_patients} without."
    )
    if survey.config.unmentioned == "unknown" and any(finding.unmentioned for finding in survey.findings):
        text += " A finding that is not mentioned counts as unknown; with --unmentioned absent it counts as absent."
    return text


def _findings_table(survey: Survey) -> Table:
    splits = [count.split for count in survey.splits[:-1]]
    rows = [
        (
            finding.name,
            finding.present,
            finding.absent,
            finding.uncertain,
            finding.unmentioned,
            finding.of_all,
            *(
                # Without a single absent label, 100 % of those labelled would mean nothing.
                fraction if fraction.count and finding.prevalence.value < 1 else None
                for fraction in (finding.prevalence, *(finding.by_split[split] for split in splits))
            ),
        )
        for finding in survey.findings
    ]
    labelled = ("Present, of labelled", *(f"Of labelled, {split}" for split in splits))
    percentages = [Column(name=name, unit="%") for name in ("Present, of all", *labelled)]
    return Table(
        title="Findings",
        columns=("Finding", "Present", "Absent", "Uncertain", "Unmentioned", *percentages),
        rows=tuple(rows),
        note="Of labelled: of the images labelled present or absent; empty for a finding never labelled absent. "
        "Wilson's intervals at the effective number of images (clustered by patient); n: patients.",
    )


def _splits_table(survey: Survey) -> Table:
    span = lambda sides: " / ".join(f"{side:,}" for side in sides)
    rows = [
        (count.split, count.images, count.patients, count.studies or None, span(count.height), span(count.width))
        for count in survey.splits
    ]
    columns = ("Split", "Images", "Patients", "Studies", "Height, pixels", "Width, pixels")
    shared = f"Patients in more than one split: {survey.shared_patients}."
    note = f"Heights and widths of the originals: minimum / median / maximum. {shared}"
    return Table(title="Splits", columns=columns, rows=tuple(rows), note=note)


def _completeness_table(survey: Survey) -> Table:
    splits, views = list(survey.completeness[0].by_split), list(survey.completeness[0].by_view)
    fraction = lambda pair: pair[0] / pair[1] if pair[1] else None
    rows = [
        (
            attribute.name,
            attribute.images,
            attribute.images / attribute.of,
            *(fraction(attribute.by_split[split]) for split in splits),
            *(fraction(attribute.by_view[view]) for view in views),
        )
        for attribute in survey.completeness
    ]
    names = ["All", *splits, *(f"View {view}" for view in views)]
    return Table(
        title="Completeness",
        columns=("Attribute", "Images", *(Column(name=name, unit="%") for name in names)),
        rows=tuple(rows),
        note="Percentage of images with a known value; a finding is known where it is present, absent or uncertain.",
    )


def _distribution_table(distribution: Distribution) -> Table:
    totals = {series: sum(counts.values()) for series, counts in distribution.counts.items()}
    rows = [
        (category, *(wilson(counts[category], totals[series]) for series, counts in distribution.counts.items()))
        for category in next(iter(distribution.counts.values()))
    ]
    columns = (distribution.attribute.capitalize(), *(Column(name=series, unit="%") for series in distribution.counts))
    return Table(
        title=f"{distribution.attribute.capitalize()} by split",
        columns=columns,
        rows=tuple(rows),
        note="Wilson's intervals, by images.",
    )


def _duplicates_table(survey: Survey) -> Table:
    places = {True: "within a split", False: "across splits"}
    counts = Counter((pair.is_one_patient, pair.splits[0] == pair.splits[1]) for pair in survey.duplicates)
    rows = [
        ("the same patient" if own else "different patients", *(counts[own, same] for same in places))
        for own in (True, False)
    ]
    cut = f" The search stopped at {MAX_PAIRS:,} pairs; there are more." if survey.has_more_duplicates else ""
    note = (
        "Pairs of images whose thumbnails, normalised for brightness and contrast, correlate by "
        f"{survey.config.similarity} or more, whatever "
        f"their size, compression, brightness or contrast. Mirrored copies and large crops are not found.{cut}"
    )
    columns = ("Pairs of", *(name.capitalize() for name in places.values()))
    return Table(title="Near duplicates", columns=columns, rows=tuple(rows), note=note)


def _text_table(survey: Survey) -> Table:
    counts = Counter(one.split for one in survey.burned_in_text)
    rows = [
        (one.split, wilson(counts[one.split] if one.split != "all" else len(survey.burned_in_text), one.images))
        for one in survey.splits
    ]
    note = (
        "Bright, sharp-edged structures of the size of letters near the border: side markers, dates, names, arrows. "
        "Electrodes and clips near the border may be false positives; small and dark print is missed. n: images."
    )
    columns = ("Split", Column(name="Images with burned-in text", unit="%"))
    return Table(title="Suspected burned-in text", columns=columns, rows=tuple(rows), note=note)
