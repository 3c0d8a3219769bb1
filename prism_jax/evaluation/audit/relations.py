"""Relations between cells of an audit: leakage, asymmetry, interactions, subgroups."""

import dataclasses
import itertools

import numpy as np

from prism_jax.data.captions import edit_language, synonyms
from prism_jax.data_report import relations
from prism_jax.data_report.pairwise_associations import Association
from prism_jax.data_report.relations import Relation
from prism_jax.data_report.survey import Survey
from prism_jax.evaluation.audit.effect_matrix import ALL, LOGIT, PROBABILITY, Matrix
from prism_jax.evaluation.edited_cohort import Cases
from prism_jax.stats import contrasts, effects, fieller, subgroups
from prism_jax.stats.effects import EffectConfig, Effects, Row
from prism_jax.stats.fieller import Asymmetry
from prism_jax.stats.intervals import Estimate
from prism_jax.stats.subgroups import Heterogeneity

IN_SURVEY = {"sex": "sex M", "view": "view AP"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """A side effect: the effect of an edit with one target on another attribute."""

    edit: str
    target: str
    column: str
    leakage: Estimate  # change of the attribute per unit of change of the target, probabilities
    relation: Relation | None  # to the association in the data; None without a data report


@dataclasses.dataclass(frozen=True, kw_only=True)
class Direction:
    """Asymmetry of two edits of one kind: the effect of each on the other's target."""

    first: str
    second: str
    shares: Asymmetry | None
    reason: str = ""  # why the asymmetry is missing


def sides(matrix: Matrix, survey: Survey | None, config: EffectConfig) -> tuple[Side, ...]:
    """Leakage of every edit that has one target, significant or not."""
    measured = []
    for edit in matrix.edits:
        if len(matrix.wanted[edit.name]) != 1:
            continue  # without a single target the cause of a side effect is unknown
        (target,) = matrix.wanted[edit.name]
        for column in matrix.columns:
            row = matrix.rows[ALL][PROBABILITY][edit.name]
            if column == target or np.isnan(row.changes[:, matrix.columns.index(column)]).all():
                continue
            place = dict(off=matrix.columns.index(column), on=matrix.columns.index(target))
            ratio = fieller.ratio(row, **place, config=config)
            related = None
            if survey is not None:
                association, name = _association(survey, target, column)
                related = relations.relate(verdict(matrix, edit.name, column), ratio, association, target=name)
            measured.append(Side(edit=edit.name, target=target, column=column, leakage=ratio, relation=related))
    return tuple(measured)


def verdict(matrix: Matrix, edit: str, column: str) -> str:
    """The judges' consensus, or the note that negative controls have the same effect."""
    is_control_like = matrix.is_control_like(edit, column)
    return "no more than negative controls" if is_control_like else matrix.agreement[edit, column].verdict


def _association(survey: Survey, target: str, column: str) -> tuple[Association | None, str]:
    """(Association of two attributes in the data report, or None; name of the target there)."""
    names = sorted({name for pair in survey.associations for name in (pair.first, pair.second)})
    first, second = (IN_SURVEY.get(name) or synonyms.find(name, names) or name for name in (target, column))
    return (survey.between(first, second) if {first, second} <= set(names) else None), first


def directions(matrix: Matrix, config: EffectConfig) -> tuple[Direction, ...]:
    """Asymmetry of all pairs of edits that do the same to one attribute each: remove A and remove B."""
    single = {
        edit: edit_language.parse(edit.edit)[0]
        for edit in matrix.edits
        if len(matrix.wanted[edit.name]) == 1 and len(edit_language.parse(edit.edit)) == 1
    }
    measured = []
    for (a, first), (b, second) in itertools.combinations(single.items(), 2):
        if first.name == second.name or not isinstance(first.value, bool) or first.value is not second.value:
            continue
        if a.strength != b.strength:
            continue
        columns = [matrix.columns.index(next(iter(matrix.wanted[edit.name]))) for edit in (a, b)]
        rows = [matrix.rows[ALL][PROBABILITY][edit.name] for edit in (a, b)]
        try:
            shares, reason = fieller.asymmetry(*rows, a=columns[0], b=columns[1], config=config), ""
        except ValueError as error:
            shares, reason = None, str(error)
        measured.append(Direction(first=a.name, second=b.name, shares=shares, reason=reason))
    return tuple(measured)


def interactions(matrix: Matrix, config: EffectConfig) -> Effects | None:
    """Effects of edits of two attributes minus the sum of the effects of the single edits, logits; None without such
    edits."""
    by_words = {(edit.words, edit.strength): edit for edit in matrix.edits}
    rows = {}
    for edit in matrix.edits:
        parts = edit.words.split(", ")
        alone = [by_words.get((part, edit.strength)) for part in parts]
        if edit.is_negative_control or len(parts) != 2 or None in alone:
            continue
        three = [matrix.rows[ALL][LOGIT][spec.name] for spec in (edit, *alone)]
        if set(three[0].images) & set(three[1].images) & set(three[2].images):
            rows[edit.name] = contrasts.interaction(*three)
    return effects.measure(rows, matrix.columns, config) if rows else None


def groups(matrix: Matrix, cases: Cases, config: EffectConfig) -> dict[tuple[str, str], tuple[Heterogeneity, ...]]:
    """By edit and grouping ("sex", "age", "view"): each attribute's effect by subgroup, logits. Negative controls are
    left out."""
    names = {
        "sex": np.array([case.attributes.sex or "" for case in cases.cases]),
        "age": subgroups.age_groups([np.nan if c.attributes.age is None else c.attributes.age for c in cases.cases]),
        "view": np.array([case.attributes.view or "" for case in cases.cases]),
    }
    by_group = {}
    for edit in matrix.edits:
        for grouping, members in names.items():
            own = members[cases.of(edit)]
            if edit.is_negative_control or len(set(own) - {""}) < 2:
                continue
            row: Row = matrix.rows[ALL][LOGIT][edit.name]
            by_group[edit.name, grouping] = subgroups.compare_groups(row, own, matrix.columns, config)
    return by_group
