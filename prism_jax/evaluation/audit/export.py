"""Files of an audit beside its report: effects.parquet, one row per edit, judge and attribute; matrix.json and .csv."""

import csv
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from prism_jax import json_codec
from prism_jax.evaluation import edited_cohort as cohorts
from prism_jax.evaluation.audit.effect_matrix import Matrix
from prism_jax.evaluation.audit.masks import Inside
from prism_jax.evaluation.audit.scores import KINDS, Scores
from prism_jax.evaluation.edited_cohort import AGE, Cases

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "prism audit 1"
ESTIMATES = ("effect", "standardised", "within")


def effects_table(cases: Cases, scores: Scores, inside: Mapping[str, Inside]) -> "pa.Table":
    """All scores before and after the edit (probability and logit), labels, subgroups, and location of the change.

    Ages stand in the columns `logit_*` and `probability_*` alike, in years.
    """
    import pyarrow as pa

    n, c, j = len(cases), len(scores.columns), len(scores.judges)
    each = lambda values: np.tile(np.repeat(np.asarray(values), c), j)  # repeats one value per case
    rows, attributes = [case.row for case in cases.cases], [case.attributes for case in cases.cases]
    columns: dict[str, Any] = {
        "image": each(cases.images),
        "patient": each(cases.patients),
        "edit": each([case.edit.words for case in cases.cases]),
        "strength": each([case.edit.strength for case in cases.cases]),
        "is_negative_control": each([case.edit.is_negative_control for case in cases.cases]),
        "status": each([row["status"] for row in rows]),
        "judge": np.repeat(scores.judges, n * c),
        "attribute": np.tile(scores.columns, n * j),
        "label": np.tile(cohorts.labels(attributes, scores.columns).ravel(), j),
        "sex": each([labels.sex or "" for labels in attributes]),
        "age": each([np.nan if labels.age is None else labels.age for labels in attributes]),
        "view": each([labels.view or "" for labels in attributes]),
    }
    kinds = [*KINDS, *(["truth"] if scores.truth is not None else [])]
    for scale in ("probability", "logit"):
        columns |= {f"{scale}_{kind}": scores.on(scale, kind).ravel() for kind in kinds}
    for name, fractions in inside.items():
        columns |= {f"inside_{name}": each(fractions.change), f"area_{name}": each(fractions.area)}
    return pa.table(columns)


def matrix_record(matrix: Matrix, more: Mapping[str, Any]) -> dict[str, Any]:
    """The matrix as JSON types, NaN as null; `more` holds the other results."""
    encode_places = lambda by_place: json_codec.encode([*by_place.values()])
    return {
        "format": FORMAT,
        "edits": [edit.name for edit in matrix.edits],
        "placebos": [edit.name for edit in matrix.edits if edit.is_negative_control],
        "columns": list(matrix.columns),
        "judges": list(matrix.judges),
        "units": {column: "years" if column == AGE else "probability, or logit" for column in matrix.columns},
        "wanted": json_codec.encode(matrix.wanted),
        "called": [list(place) for place in matrix.agreement if matrix.is_called(*place)],
        "agreement": encode_places(matrix.agreement),
        "beyond_placebos": encode_places(matrix.beyond),
        "excess_over_placebos": encode_places(matrix.excess),
        "effects": {
            judge: {scale: json_codec.encode(effects_of.cells) for scale, effects_of in scales.items()}
            for judge, scales in matrix.effects.items()
        },
        **more,
    }


def matrix_csv(matrix: Matrix) -> str:
    """One line per judge, scale, edit and attribute."""
    lines = io.StringIO()
    numbers = [f"{name}{end}" for name in ESTIMATES for end in ("", "_low", "_high")]
    plain = ("family", "images", "effective_sample_size", "std", "p", "q", "family_p", "margin", "verdict", "reason")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["judge", "scale", "edit", "attribute", "patients", *numbers, *plain])
    for judge, scales in matrix.effects.items():
        for scale, effects_of in scales.items():
            for cell in effects_of.cells:
                estimates = [getattr(cell, name) for name in ESTIMATES]
                values = [value for estimate in estimates for value in (estimate.value, estimate.low, estimate.high)]
                written = [_written(value) for value in (*values, *(getattr(cell, name) for name in plain))]
                writer.writerow([judge, scale, cell.edit, cell.column, cell.effect.count, *written])
    return lines.getvalue()


def _written(value: Any) -> Any:
    """Empty for an unknown number."""
    return "" if isinstance(value, float) and not np.isfinite(value) else value
