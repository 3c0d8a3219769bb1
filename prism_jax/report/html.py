"""A `Report` as one HTML file that needs nothing else: no network, no files beside it."""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from prism_jax.report import encoding, figures, films, pages
from prism_jax.report.document import Matrix, Report

CELL, NAMES = 42, 170  # pixels: least width of a matrix's cell, and room for the names of its rows


def write(report: Report, path: str | os.PathLike) -> None:
    """Writes the page to `path`, whole or not at all."""
    pages.write(render(report), path)


def render(report: Report) -> str:
    """The page as a string, pictures and chart library in it; all text of the report is escaped."""
    edits = _by_name(report.subjects, lambda row: row.edit, lambda row: films.row(row, report.difference_limit))
    strips = _by_name(report.strips, lambda strip: strip.group, films.strip)
    samples = _by_name(report.samples, lambda sample: sample.group, films.sample)
    shown = [film for rows in (*edits.values(), *strips.values()) for row in rows for film in row["films"]]
    shown += [film for rows in edits.values() for row in rows for film in row["words"]]
    shown += [film for group in samples.values() for film in group]
    outlines = sum(len(row["outline"] or "") for rows in edits.values() for row in rows) * 3 // 4  # as base64
    fitting = encoding.fitting([film.image for film in shown], taken=outlines)
    return pages.template("report.html.j2").render(
        report=report,
        edits=edits,
        strips=strips,
        samples=samples,
        encode=fitting.uri,
        encoding_note=fitting.note,
        tables=[pages.table(table) for table in report.tables],
        has_masks=any(row.mask is not None for row in report.subjects),
        colours={name: getattr(figures, name.upper()) for name in ("denser", "less_dense", "outline", "attention")},
        settings=json.dumps(report.settings, indent=2, default=str),
        **_charts(report),
    )


def _charts(report: Report) -> dict[str, Any]:
    """The curves and other charts as JSON, and plotly.js (5 MB) only if there is one to draw."""
    if not report.curves and not report.charts:
        return {"curves": [], "charts": [], "plotly_js": ""}
    import plotly.offline

    from prism_jax.report.charts import chart_json

    drawn = lambda charts: [
        {
            "title": chart.title,
            "json": chart_json(chart),
            "note": getattr(chart, "note", ""),
            # A matrix that would not be readable on a narrow screen is moved sideways there.
            "least_width": CELL * len(chart.names) + NAMES if isinstance(chart, Matrix) else 0,
        }
        for chart in charts
    ]
    return {
        "curves": drawn(report.curves),
        "charts": drawn(report.charts),
        "plotly_js": plotly.offline.get_plotlyjs(),
    }


def _by_name(items: Iterable, name_of: Callable, convert: Callable) -> dict[str, list]:
    """Items converted and grouped, groups and items in the order in which they come."""
    groups: dict[str, list] = {}
    for item in items:
        groups.setdefault(name_of(item), []).append(convert(item))
    return groups
