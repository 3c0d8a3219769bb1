"""An `AuditPage` as one HTML file that needs nothing else: no network, no files beside it."""

import json
import math
import os
from typing import Any

import numpy as np

from prism_jax.report import encoding, figures, pages
from prism_jax.report.heatmap import MARKS, AuditPage, Exhibit, HeatCell, HeatMap

FAINTEST = 0.06  # opacity of a cell's colour that is still told from none
KINDS = ("original", "reconstruction", "edited", "difference", "truth")


def write(page: AuditPage, path: str | os.PathLike) -> None:
    """Writes the page to `path`, whole or not at all."""
    pages.write(render(page), path)


def render(page: AuditPage) -> str:
    """The page as a string, pictures in it; all text is escaped."""
    data, note = _pictures(page)
    return pages.template("audit.html.j2").render(
        page=page,
        maps=[_map(one) for one in page.maps],
        marks=MARKS,
        data=_script_json(data),
        encoding_note=note,
        colours={name: getattr(figures, name.upper()) for name in ("denser", "less_dense", "outline")},
        difference_limit=figures.DIFFERENCE_LIMIT,
        tables=[pages.table(table) for table in page.tables],
        settings=json.dumps(page.settings, indent=2, default=str),
    )


def _map(one: HeatMap) -> dict[str, Any]:
    return {"name": one.name, "rows": [[_cell(cell, one.limit) for cell in cells] for cells in one.cells]}


def _cell(cell: HeatCell, limit: float) -> dict[str, Any]:
    """How a cell is drawn: hue by direction, opacity by size."""
    share = 0.0 if math.isnan(cell.value) else min(abs(cell.value) / limit, 1.0)
    opacity = share if share >= FAINTEST else 0.0
    return {
        "side": "up" if cell.value > 0 else "down",
        "opacity": f"{opacity:.2f}",
        "text": cell.text,
        "mark": cell.mark,
        "sign": MARKS[cell.mark][0],
        "detail": cell.detail,
        "is_target": cell.is_target,
    }


def _pictures(page: AuditPage) -> tuple[dict[str, Any], str]:
    """(What the script shows under cells, a note on how pictures are embedded). Each picture is embedded once."""
    places: dict[bytes, int] = {}
    pictures: list[np.ndarray] = []

    def place(picture: np.ndarray) -> int:
        key = picture.tobytes()  # originals and reconstructions are those of several edits
        if key not in places:
            places[key] = len(pictures)
            pictures.append(picture)
        return places[key]

    exhibits = [_exhibit(one, place) for one in page.exhibits]
    fitting = encoding.fitting(pictures)
    cells = {
        f"{row},{column}": [[one.exhibit, one.rank, one.change] for one in shown]
        for (row, column), shown in page.shown.items()
    }
    return {
        "pictures": [fitting.uri(picture) for picture in pictures],
        "exhibits": exhibits,
        "cells": cells,
        "kinds": KINDS,
    }, fitting.note


def _exhibit(one: Exhibit, place: Any) -> dict[str, Any]:
    films = [one.original, one.reconstruction, one.edited, figures.difference_image(one.reconstruction, one.edited)]
    films += [] if one.truth is None else [one.truth]
    return {
        "image": one.image,
        "patient": one.patient,
        "films": [place(film) for film in films],
        "readings": list(one.readings),
        "width": int(one.original.shape[1]),
        "height": int(one.original.shape[0]),
    }


def _script_json(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
