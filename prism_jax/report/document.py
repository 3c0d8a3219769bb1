"""The components of a report, as plain data."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from prism_jax.report.effect_map import EffectMap
from prism_jax.report.images import EditRow, Sample, Strip
from prism_jax.stats.intervals import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """Lines over training steps, each over its own, as logged and smoothed."""

    title: str
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]]  # name -> steps [n], values [n]
    y_label: str = ""

    def __post_init__(self) -> None:
        for name, (x, y) in self.lines.items():
            if len(x) != len(y):
                raise ValueError(f"curve {self.title!r} has {len(x)} points in x of {name!r}, but {len(y)} in y")


def logged(records: Iterable[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps [n] and values [n] of `key`, from the lines of a metrics.jsonl that have both."""
    complete = [record for record in records if "step" in record and key in record]
    return np.array([record["step"] for record in complete]), np.array([record[key] for record in complete], np.float64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bars:
    """Counts by category, as stacked bars."""

    title: str
    categories: tuple[str, ...]
    y: Mapping[str, tuple[int, ...]]  # name -> one count a category
    y_label: str = "images"

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.y.items()}
        if any(length != len(self.categories) for length in lengths.values()):
            raise ValueError(f"bars {self.title!r} have {len(self.categories)} categories, but in y {lengths}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Matrix:
    """A coloured square matrix, NaN left blank: blue below 0 and red above, or counts from 0 (pale) up."""

    title: str
    names: tuple[str, ...]
    values: np.ndarray  # [n, n]
    note: str = ""
    is_count: bool = False

    def __post_init__(self) -> None:
        if np.shape(self.values) != (len(self.names),) * 2:
            raise ValueError(f"matrix {self.title!r} has {len(self.names)} names, but values {np.shape(self.values)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """A number compared with a stated target: `at_least`, `at_most` or both."""

    estimate: Estimate
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool:
        """True if the value meets the target; NaN (nothing measured) never does."""
        above = self.at_least is None or self.estimate.value >= self.at_least
        below = self.at_most is None or self.estimate.value <= self.at_most
        return above and below and not np.isnan(self.estimate.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """A heading with its unit; numbers under the unit "%" are fractions and shown times 100."""

    name: str
    unit: str = ""


Cell = str | int | float | Estimate | Check | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells; the first column names the row. None is shown as a dash."""

    title: str
    columns: tuple[str | Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r} has {len(self.columns)} columns, row {row[0]!r} {len(row)} cells"
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Notes:
    """Sentences under a heading, for example the findings of an audit."""

    title: str
    sentences: tuple[str, ...]
    if_empty: str = "None."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """One HTML page. Every page shows its parts in the order of these fields; empty parts are left out."""

    title: str
    summary: str  # one sentence: what was evaluated, on how many images
    headline: tuple[tuple[str, str], ...] = ()  # (number, what it is), printed large under the summary
    targets: str = ""  # what the targets in the tables compare, beside how many of them are met
    look_first: tuple[str, ...] = ()  # sentences: what to look at first, and how to read it
    notes: tuple[Notes, ...] = ()
    effects: EffectMap | None = None
    tables: tuple[Table, ...] = ()
    charts: tuple[Bars | Matrix, ...] = ()
    curves: tuple[Curve, ...] = ()
    subjects: tuple[EditRow, ...] = ()
    strips: tuple[Strip, ...] = ()
    samples: tuple[Sample, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # JSON
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    difference_limit: int = 64  # grey levels at which the difference maps saturate
    notice: str = "Counterfactuals generated by a model, for research. Not for diagnosis."

    @property
    def checks(self) -> tuple[Check, ...]:
        """All targets in the tables."""
        return tuple(cell for table in self.tables for row in table.rows for cell in row if isinstance(cell, Check))
