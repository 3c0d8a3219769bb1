"""What every page is made with: its template, its tables, and a file that is there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prism_jax.atomic import atomic_write
from prism_jax.report.document import Table
from prism_jax.report.tables import cell_text

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"


def write(text: str, path: str | os.PathLike) -> None:
    """Writes a page to `path`, whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def template(name: str) -> jinja2.Template:
    """The template `name`; it escapes all text, and a value that is not given is an error."""
    import jinja2  # here: `prism edit` takes its difference map from this package and needs no page

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)


def table(made: Table) -> dict[str, Any]:
    """A table as templates take it: headings with their units, and cells as text."""
    headings = [(column, "") if isinstance(column, str) else (column.name, column.unit) for column in made.columns]
    rows = [[cell_text(cell, unit) for cell, (_, unit) in zip(row, headings, strict=True)] for row in made.rows]
    return {"title": made.title, "note": made.note, "headings": headings, "rows": rows}
