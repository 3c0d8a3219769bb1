"""HTML reports: a `Report` holds text, tables, charts and images; `save` writes it into a run folder."""

from prism_jax.report.document import Bars, Check, Column, Curve, Matrix, Notes, Report, Table, logged
from prism_jax.report.effect_map import EffectMap
from prism_jax.report.html import render, save, write
from prism_jax.report.images import EditRow, Sample, Strip, WordMap
from prism_jax.report.versions import versions

__all__ = [
    "Bars",
    "Check",
    "Column",
    "Curve",
    "EditRow",
    "EffectMap",
    "Matrix",
    "Notes",
    "Report",
    "Sample",
    "Strip",
    "Table",
    "WordMap",
    "logged",
    "render",
    "save",
    "versions",
    "write",
]
