"""What lies between the rows of an audit: leakage and the data's own links, directions, pairs, strengths, groups."""

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np

from prism_jax.data.captions import edit_language, synonyms
from prism_jax.data_report import relations
from prism_jax.data_report.pairwise_associations import Association
from prism_jax.data_report.relations import Relation
from prism_jax.data_report.survey import Survey
from prism_jax.evaluation.audit.effect_matrix import ALL, LOGIT, PROBABILITY, Matrix
from prism_jax.evaluation.edited_cohort import AGE, Cases
from prism_jax.evaluation.edits import EditSpec
from prism_jax.stats import contrasts, effects, fieller, matched_strength, subgroups
from prism_jax.stats.effects import EffectConfig, Effects, Row
from prism_jax.stats.fieller import Asymmetry
from prism_jax.stats.intervals import Estimate
from prism_jax.stats.matched_strength import MatchedStrength
from prism_jax.stats.subgroups import Heterogeneity

IN_SURVEY = {"sex": "sex M", "view": "view AP"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """What an edit took along: an attribute beside its only target."""

    edit: str
    target: str
    column: str
    leakage: Estimate  # change of the attribute for each unit of change of the target, probabilities
    relation: Relation | None  # to the data; None without a survey


@dataclasses.dataclass(frozen=True, kw_only=True)
class Direction:
    """Two edits of one kind, each seen in the other's target."""

    first: str
    second: str
    shares: Asymmetry | None
    reason: str = ""  # why there is none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doses:
    """One edit at several strengths, by the guidance or order in which the configuration has them."""

    words: str
    strengths: Mapping[float, str]  # strength -> name of the edit
    slopes: Effects  # change with each unit of strength, logits
    matched: Mapping[str, MatchedStrength]  # attribute -> its change where the target has moved half as far as it can


def sides(matrix: Matrix, survey: Survey | None, config: EffectConfig) -> tuple[Side, ...]:
    """Leakage of every edit that has one target, whether or not an effect was found."""
    found = []
    for edit in matrix.edits:
        if len(matrix.wanted[edit.name]) != 1:
            continue  # placebos have none, and of two targets nobody knows which took it along
        (target,) = matrix.wanted[edit.name]
        for column in matrix.columns:
            row = matrix.rows[ALL][PROBABILITY][edit.name]
            if column == target or np.isnan(row.changes[:, matrix.columns.index(column)]).all():
                continue
            place = dict(off=matrix.columns.index(column), on=matrix.columns.index(target))
            ratio = fieller.ratio(row, **place, config=config)
            related = None
            if survey is not None:
                link, name = _link(survey, target, column)
                related = relations.relate(verdict(matrix, edit.name, column), ratio, link, target=name)
            found.append(Side(edit=edit.name, target=target, column=column, leakage=ratio, relation=related))
    return tuple(found)


def verdict(matrix: Matrix, edit: str, column: str) -> str:
    """What the judges agree on, unless placebos do as much."""
    agreed = matrix.agreement[edit, column].verdict
    is_effect = agreed in (effects.EFFECT, effects.NEGLIGIBLE)
    is_beyond = matrix.is_called(edit, column) or matrix.is_negligible(edit, column)
    return "no more than negative controls" if is_effect and not is_beyond else agreed


def _link(survey: Survey, target: str, column: str) -> tuple[Association | None, str]:
    """(The data's link between two attributes, None where it does not have one; the name that the target has there)."""
    names = sorted({name for one in survey.associations for name in (one.first, one.second)})
    first, second = (IN_SURVEY.get(name) or synonyms.find(name, names) or name for name in (target, column))
    return (survey.between(first, second) if {first, second} <= set(names) else None), first


def directions(matrix: Matrix, config: EffectConfig) -> tuple[Direction, ...]:
    """Every two edits that do the same to one attribute each: remove A against remove B."""
    single = {
        edit: edit_language.parse(edit.edit)[0]
        for edit in matrix.edits
        if len(matrix.wanted[edit.name]) == 1 and len(edit_language.parse(edit.edit)) == 1
    }
    found = []
    for (a, one), (b, other) in itertools.combinations(single.items(), 2):
        if one.name == other.name or not isinstance(one.value, bool) or one.value is not other.value:
            continue
        if a.strength != b.strength:
            continue
        columns = [matrix.columns.index(next(iter(matrix.wanted[edit.name]))) for edit in (a, b)]
        rows = [matrix.rows[ALL][PROBABILITY][edit.name] for edit in (a, b)]
        try:
            shares, reason = fieller.asymmetry(*rows, a=columns[0], b=columns[1], config=config), ""
        except ValueError as error:
            shares, reason = None, str(error)
        found.append(Direction(first=a.name, second=b.name, shares=shares, reason=reason))
    return tuple(found)


def interactions(matrix: Matrix, config: EffectConfig) -> Effects | None:
    """What edits of two attributes did beyond the sum of the two edits alone, logits; None where there are none."""
    by_words = {(edit.words, edit.strength): edit for edit in matrix.edits}
    rows = {}
    for edit in matrix.edits:
        parts = edit.words.split(", ")
        alone = [by_words.get((part, edit.strength)) for part in parts]
        if edit.is_negative_control or len(parts) != 2 or None in alone:
            continue
        three = [matrix.rows[ALL][LOGIT][one.name] for one in (edit, *alone)]
        if set(three[0].images) & set(three[1].images) & set(three[2].images):
            rows[edit.name] = contrasts.interaction(*three)
    return effects.measure(rows, matrix.columns, config) if rows else None


def doses(matrix: Matrix, config: EffectConfig) -> tuple[Doses, ...]:
    """Edits that were made at several strengths. Strength is the edit's guidance."""
    groups: dict[str, list[EditSpec]] = {}
    for edit in matrix.edits:
        if not edit.is_negative_control and edit.guidance is not None:
            groups.setdefault(edit.words, []).append(edit)
    return tuple(_doses(words, edits, matrix, config) for words, edits in groups.items() if len(edits) > 1)


def _doses(words: str, edits: list[EditSpec], matrix: Matrix, config: EffectConfig) -> Doses:
    strengths = {edit.guidance: edit.name for edit in sorted(edits, key=lambda edit: edit.guidance)}
    rows = {strength: matrix.rows[ALL][LOGIT][name] for strength, name in strengths.items()}
    slopes = effects.measure({words: contrasts.slope(rows)}, matrix.columns, config)
    targets, matched = list(matrix.wanted[edits[0].name]), {}
    if len(targets) == 1:
        on = matrix.columns.index(targets[0])
        most = max((np.nanmean(row.changes[:, on]) for row in rows.values()), key=abs)
        for off, column in enumerate(matrix.columns):
            if off != on and most:
                matched[column] = matched_strength.at_matched_strength(
                    rows, off=off, on=on, target_change=most / 2, config=config
                )
    return Doses(words=words, strengths=strengths, slopes=slopes, matched=matched)


def groups(matrix: Matrix, cases: Cases, config: EffectConfig) -> dict[tuple[str, str], tuple[Heterogeneity, ...]]:
    """By edit and grouping ("sex", "age", "view"): each attribute's effect by group, logits. Placebos are left out."""
    names = {
        "sex": np.array([case.attributes.sex or "" for case in cases.cases]),
        "age": subgroups.age_groups([np.nan if c.attributes.age is None else c.attributes.age for c in cases.cases]),
        "view": np.array([case.attributes.view or "" for case in cases.cases]),
    }
    found = {}
    for edit in matrix.edits:
        for grouping, members in names.items():
            own = members[cases.of(edit)]
            if edit.is_negative_control or len(set(own) - {""}) < 2:
                continue
            row: Row = matrix.rows[ALL][LOGIT][edit.name]
            found[edit.name, grouping] = subgroups.compare_groups(row, own, matrix.columns, config)
    return found


def unit(column: str) -> str:
    """What changes of an attribute's probability are counted in."""
    return "years" if column == AGE else "points"
