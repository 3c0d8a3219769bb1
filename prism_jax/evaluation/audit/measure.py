"""Everything that an audit measures: the effect matrix, and what relates its rows."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prism_jax import json_codec
from prism_jax.data.sources.phantom import PhantomConfig
from prism_jax.data_report.survey import Survey
from prism_jax.evaluation.audit import effect_matrix, judge_errors, masks, narrative, relations
from prism_jax.evaluation.audit.effect_matrix import Matrix
from prism_jax.evaluation.audit.judge_errors import Calls, Errors
from prism_jax.evaluation.audit.masks import Inside
from prism_jax.evaluation.audit.relations import Direction, Side
from prism_jax.evaluation.audit.scores import Scores
from prism_jax.evaluation.edited_cohort import Cases
from prism_jax.stats.subgroups import Heterogeneity

if TYPE_CHECKING:
    from prism_jax.evaluation.audit.run import AuditRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditResults:
    """Results of an audit."""

    cases: Cases
    scores: Scores
    matrix: Matrix
    survey: Survey | None
    phantom: PhantomConfig | None
    inside: Mapping[str, Inside]
    sides: tuple[Side, ...]
    directions: tuple[Direction, ...]
    groups: Mapping[tuple[str, str], tuple[Heterogeneity, ...]]
    errors: tuple[Errors, ...]
    calls: Calls | None
    unreliable: frozenset[str]  # attributes that the judges do not recognise well enough

    def record(self) -> dict[str, Any]:
        """The parts of `matrix.json` beside the matrix."""
        return {
            "sides": json_codec.encode(self.sides),
            "directions": json_codec.encode(self.directions),
            "subgroups": [
                {"edit": edit, "by": by, "columns": json_codec.encode(columns)}
                for (edit, by), columns in self.groups.items()
            ],
            "judges_errors": json_codec.encode(self.errors),
            "calls": json_codec.encode(self.calls),
            "attempts": json_codec.encode(self.cases.attempts),
            "unreliable": sorted(self.unreliable),
        }


def measure(
    config: "AuditRun", cases: Cases, scores: Scores, survey: Survey | None, phantom: PhantomConfig | None
) -> AuditResults:
    """Measures an edited cohort from the judges' scores."""
    matrix = effect_matrix.measure(cases, scores, config.effects, negligible=config.negligible)
    errors = judge_errors.errors(cases, scores, config.effects.bootstrap)
    return AuditResults(
        cases=cases,
        scores=scores,
        matrix=matrix,
        survey=survey,
        phantom=phantom,
        inside=masks.inside(cases, phantom),
        sides=relations.sides(matrix, survey, config.effects),
        directions=relations.directions(matrix, config.effects),
        groups=relations.groups(matrix, cases, config.effects),
        errors=errors,
        calls=judge_errors.calls(matrix),
        unreliable=narrative.unreliable(errors, config.min_auroc),
    )
