"""A `Report` as one HTML file that needs nothing else: no network, no files beside it."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from prism_jax.metrics.counterfactual import CHANGE_THRESHOLD
from prism_jax.report import figures
from prism_jax.report.captions import changed_words
from prism_jax.report.document import Matrix, Report, Table
from prism_jax.report.pictures import EditRow, Sample
from prism_jax.report.tables import cell_text, number

TEMPLATES = Path(__file__).parent / "templates"
CELL, NAMES = 42, 170  # pixels: least width of a matrix's cell, and room for the names of its rows
LOSSLESS_PIXELS = 6_000_000  # above this many pixels (some 5 MB of PNG) pictures are embedded as JPEG


def write(report: Report, path: str | os.PathLike) -> None:
    """Writes the page to `path`, whole or not at all."""
    path = Path(path)
    page = render(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def render(report: Report) -> str:
    """The page as a string, pictures and chart library in it; all text of the report is escaped."""
    import jinja2  # here: `prism edit` takes its difference map from this package and needs no page

    encode = _encoder(report)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2").render(
        report=report,
        edits=_by_name(report.subjects, lambda row: row.edit, lambda row: _row(row, report, encode)),
        samples=_by_name(report.samples, lambda sample: sample.group, lambda sample: _sample(sample, encode)),
        tables=[_table(table) for table in report.tables],
        has_masks=any(row.mask is not None for row in report.subjects),
        colours={"denser": figures.DENSER, "less_dense": figures.LESS_DENSE, "outline": figures.OUTLINE},
        settings=json.dumps(report.settings, indent=2, default=str),
        is_lossy=encode is figures.jpeg_uri,
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


def _encoder(report: Report) -> Callable[[np.ndarray], str]:
    pictures = sum(row.original.size * (4 if row.truth is None else 5) for row in report.subjects)
    pictures += sum(sample.image.size for sample in report.samples)
    return figures.png_uri if pictures <= LOSSLESS_PIXELS else figures.jpeg_uri


def _by_name(items: Iterable, name_of: Callable, convert: Callable) -> dict[str, list]:
    """Items converted and grouped, groups and items in the order in which they come."""
    groups: dict[str, list] = {}
    for item in items:
        groups.setdefault(name_of(item), []).append(convert(item))
    return groups


def _row(row: EditRow, report: Report, encode: Callable[[np.ndarray], str]) -> dict[str, Any]:
    change = row.edited.astype(np.int16) - row.reconstruction
    share = np.mean(np.abs(change) > CHANGE_THRESHOLD)
    source, edited = changed_words(row.source_prompt, row.edited_prompt)
    difference = figures.difference_image(row.reconstruction, row.edited, limit=report.difference_limit)
    films = [
        _film("original", "Original", row.original, f"Original X-ray of subject {row.subject}", encode),
        _film(
            "reconstruction",
            "Reconstruction",
            row.reconstruction,
            "The same, inverted and sampled back",
            encode,
        ),
        _film("edit", "Edit", row.edited, f"Edited X-ray: {row.edit}", encode),
        _film(
            "difference",
            "Difference",
            difference,
            f"Signed difference, edit less reconstruction: {share:.0%} of pixels change by more than "
            f"{CHANGE_THRESHOLD} grey levels, by {change.mean():+.1f} on average",
            encode,
        ),
    ]
    if row.truth is not None:
        films.append(_film("truth", "True counterfactual", row.truth, f"True counterfactual: {row.edit}", encode))
    return {
        "subject": row.subject,
        "source": source,
        "edited": edited,
        "films": films,
        "outline": None if row.mask is None else figures.png_uri(figures.outline(row.mask)),
        "metrics": {label: number(value) for label, value in row.metrics.items()},
    }


def _film(kind: str, title: str, image: np.ndarray, alt: str, encode: Callable[[np.ndarray], str]) -> dict[str, Any]:
    height, width = image.shape[:2]
    return {"kind": kind, "title": title, "alt": alt, "uri": encode(image), "width": width, "height": height}


def _sample(sample: Sample, encode: Callable[[np.ndarray], str]) -> dict[str, Any]:
    return _film("sample", sample.caption, sample.image, sample.caption, encode)


def _table(table: Table) -> dict[str, Any]:
    headings = [(column, "") if isinstance(column, str) else (column.name, column.unit) for column in table.columns]
    units = [unit for _, unit in headings]
    rows = [[cell_text(cell, unit) for cell, unit in zip(row, units, strict=True)] for row in table.rows]
    return {"title": table.title, "note": table.note, "headings": headings, "rows": rows}
