"""A `Report` as one self-contained HTML file, which needs no network and no other files."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prism_jax.atomic import atomic_write
from prism_jax.report import encoding, figures, films, numbers
from prism_jax.report.document import Matrix, Report, Table
from prism_jax.report.effect_map import MARKS, EffectMap, Exhibit
from prism_jax.report.tables import cell_text
from prism_jax.report.versions import versions

if TYPE_CHECKING:
    import jinja2

PAGE, METRICS, CONFIG = "report.html", "metrics.json", "config.json"
TEMPLATES = Path(__file__).parent / "templates"
CELL, NAMES = 42, 170  # pixels: least width of a matrix's cell, and room for the names of its rows
KINDS = ("original", "reconstruction", "edited", "difference", "truth")


def write(report: Report, path: str | os.PathLike) -> None:
    """Writes the page to `path` atomically."""
    with atomic_write(path) as partial:
        partial.write_text(render(report), encoding="utf-8")


def save(report: Report, run: str | Path) -> Path:
    """Writes `report.html`, `metrics.json` and `metrics.csv` into the folder `run`; returns the page's path.

    A report without settings shows the run's `config.json`; one without versions shows the installed ones.
    """
    run = Path(run)
    if not report.settings and (run / CONFIG).is_file():
        report = dataclasses.replace(report, settings=json.loads((run / CONFIG).read_text(encoding="utf-8")))
    write(report if report.versions else dataclasses.replace(report, versions=versions()), run / PAGE)
    numbers.write(report.tables, run / METRICS)
    return run / PAGE


def render(report: Report) -> str:
    """The page as a string, images and chart library embedded; all text of the report is escaped."""
    edits = _by_name(report.subjects, lambda row: row.edit, films.row)
    strips = _by_name(report.strips, lambda strip: strip.group, films.strip)
    samples = _by_name(report.samples, lambda sample: sample.group, films.sample)
    embedded = [film.image for rows in (*edits.values(), *strips.values()) for row in rows for film in row["films"]]
    embedded += [film.image for rows in edits.values() for row in rows for film in row["words"]]
    embedded += [film.image for group in samples.values() for film in group]
    behind, exhibits = _exhibits(report.effects)
    outlines = sum(len(row["outline"] or "") for rows in edits.values() for row in rows) * 3 // 4  # as base64
    fitting = encoding.fitting([*embedded, *behind], taken=outlines)
    exhibits["images"] = [fitting.uri(image) for image in behind]
    return _template().render(
        report=report,
        difference_limit=figures.DIFFERENCE_LIMIT,
        edits=edits,
        strips=strips,
        samples=samples,
        encode=fitting.uri,
        encoding_note=fitting.note,
        tables=[_table(table) for table in report.tables],
        marks=MARKS,
        exhibits=_script_json(exhibits) if report.effects else "",
        has_masks=any(row.mask is not None for row in report.subjects),
        colours={name: getattr(figures, name.upper()) for name in ("denser", "less_dense", "outline", "attention")},
        settings=json.dumps(report.settings, indent=2, default=str),
        **_charts(report),
    )


def _template() -> jinja2.Template:
    """The one template; it escapes all text, and a missing value is an error."""
    import jinja2  # imported here: `prism edit` uses this package without rendering a page

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2")


def _table(table: Table) -> dict[str, Any]:
    """Headings with their units, and cells as text."""
    headings = [(column, "") if isinstance(column, str) else (column.name, column.unit) for column in table.columns]
    rows = [[cell_text(cell, unit) for cell, (_, unit) in zip(row, headings, strict=True)] for row in table.rows]
    return {"title": table.title, "note": table.note, "headings": headings, "rows": rows}


def _charts(report: Report) -> dict[str, Any]:
    """All charts as JSON, and plotly.js (5 MB) only if there is one to draw."""
    charts = (*report.charts, *report.curves)
    if not charts:
        return {"charts": [], "plotly_js": ""}
    import plotly.offline

    from prism_jax.report.charts import chart_json

    drawn = [
        {
            "title": chart.title,
            "json": chart_json(chart),
            "note": getattr(chart, "note", ""),
            # A matrix that would not be readable on a narrow screen scrolls sideways there.
            "least_width": CELL * len(chart.names) + NAMES if isinstance(chart, Matrix) else 0,
        }
        for chart in charts
    ]
    return {"charts": drawn, "plotly_js": plotly.offline.get_plotlyjs()}


def _by_name(items: Iterable, name_of: Callable, convert: Callable) -> dict[str, list]:
    """Items converted and grouped; groups and items keep their order."""
    groups: dict[str, list] = {}
    for item in items:
        groups.setdefault(name_of(item), []).append(convert(item))
    return groups


def _exhibits(effects: EffectMap | None) -> tuple[list[np.ndarray], dict[str, Any]]:
    """(The images behind the cells, each once; the exhibits and the cells that show them, for the script)."""
    if effects is None:
        return [], {}
    places: dict[bytes, int] = {}
    images: list[np.ndarray] = []

    def place(image: np.ndarray) -> int:
        key = image.tobytes()  # several edits have the same original and reconstruction
        if key not in places:
            places[key] = len(images)
            images.append(image)
        return places[key]

    exhibits = [_exhibit(exhibit, place) for exhibit in effects.exhibits]
    cells = {f"{row},{column}": [*map(dataclasses.astuple, shown)] for (row, column), shown in effects.shown.items()}
    return images, {"exhibits": exhibits, "cells": cells, "kinds": KINDS}


def _exhibit(exhibit: Exhibit, place: Callable[[np.ndarray], int]) -> dict[str, Any]:
    images = [exhibit.original, exhibit.reconstruction, exhibit.edited]
    images.append(figures.difference_image(exhibit.reconstruction, exhibit.edited))
    images += [] if exhibit.truth is None else [exhibit.truth]
    return {
        "image": exhibit.image,
        "patient": exhibit.patient,
        "films": [place(image) for image in images],
        "readings": list(exhibit.readings),
        "width": int(exhibit.original.shape[1]),
        "height": int(exhibit.original.shape[0]),
    }


def _script_json(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
