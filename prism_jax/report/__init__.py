"""The report of a run: a `Report` holds pictures, tables and curves; `write` makes one HTML file of it."""

from prism_jax.report.document import Bars, Check, Column, Curve, Matrix, Overlay, Report, Table
from prism_jax.report.html import render, write
from prism_jax.report.pictures import EditRow, Sample, Strip, WordMap
from prism_jax.report.tables import counterfactual_table, image_table
from prism_jax.report.versions import versions

__all__ = [
    "Bars",
    "Check",
    "Column",
    "Curve",
    "EditRow",
    "Matrix",
    "Overlay",
    "Report",
    "Sample",
    "Strip",
    "Table",
    "WordMap",
    "counterfactual_table",
    "image_table",
    "render",
    "versions",
    "write",
]
