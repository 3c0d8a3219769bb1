"""The page of an audit as plain data: sentences, a heat map one can click into, and the pictures behind its cells."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from prism_jax.report.document import Table
from prism_jax.report.pictures import check_image

Mark = Literal["family", "discovery", "slight", "placebo-like", "none", "few", "open"]
MARKS: Mapping[Mark, tuple[str, str]] = {  # sign and meaning, in the order of the legend
    "family": ("●", "an effect, also when no cell at all may be called wrongly (family-wise)"),
    "discovery": ("○", "an effect, at the stated false discovery rate"),
    "slight": ("▿", "an effect, too small to be of account"),
    "placebo-like": ("◌", "differs from nothing, but not from what placebo edits do"),
    "none": ("≈", "no effect to speak of: within the margin (equivalence)"),
    "open": ("", "neither an effect nor its absence is shown"),
    "few": ("·", "too few patients: nothing can be concluded"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeatCell:
    """One edit and one attribute, as it is shown."""

    value: float  # colour: red above 0, blue below, full at ± the map's limit; NaN is left blank
    text: str  # what stands in the cell
    mark: Mark
    detail: str  # in words, under the pictures and for screen readers
    is_target: bool = False  # the edit is meant to change this attribute


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeatMap:
    """All cells as one judge, or all of them together, see them."""

    name: str
    cells: tuple[tuple[HeatCell, ...], ...]  # rows of the page x columns of the page
    limit: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exhibit:
    """The pictures of one edit of one image, uint8 [h, w], and what was read in them."""

    image: str
    patient: str
    row: int  # the edit
    original: np.ndarray
    reconstruction: np.ndarray
    edited: np.ndarray
    truth: np.ndarray | None = None
    readings: tuple[str, ...] = ()  # by column: what each judge says before and after

    def __post_init__(self) -> None:
        for name in ("original", "reconstruction", "edited", "truth"):
            if (picture := getattr(self, name)) is not None:
                check_image(picture, f"{name} of image {self.image}", np.shape(self.original))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """An exhibit under a cell."""

    exhibit: int  # place among the page's exhibits
    rank: str  # "largest", "middle" or "smallest" effect
    change: str  # with sign and unit


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditPage:
    """Everything the page of an audit shows, sentences first."""

    title: str
    summary: str
    headline: tuple[tuple[str, str], ...]  # (number, what it is)
    found: tuple[str, ...]  # sentences
    ruled_out: tuple[str, ...]
    unknown: tuple[str, ...]
    rows: tuple[str, ...]  # edits
    placebos: frozenset[str]  # those of `rows` that should change nothing
    columns: tuple[str, ...]  # attributes
    maps: tuple[HeatMap, ...]
    map_note: str
    exhibits: tuple[Exhibit, ...]
    shown: Mapping[tuple[int, int], tuple[Shown, ...]]  # (row, column) -> exhibits, sorted by effect
    tables: tuple[Table, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # JSON
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notice: str = "Counterfactuals made by a model, for research. Not for diagnosis."

    def __post_init__(self) -> None:
        shape = [len(self.columns)] * len(self.rows)
        for one in self.maps:
            if (found := [len(cells) for cells in one.cells]) != shape:
                raise ValueError(
                    f"map {one.name!r} has rows of {found} cells; the page's edits and attributes: {shape}"
                )


def ranked(changes: np.ndarray, most: int) -> list[tuple[int, str]]:
    """Which of `changes` [n] to show, the largest first: `most` each of the largest, the middle and the smallest.

    Returns (place, rank); what is NaN is never shown, and nothing twice.
    """
    order = np.argsort(-changes, kind="stable")[: int(np.count_nonzero(~np.isnan(changes)))]  # NaN sorts to the end
    n, half = len(order), most // 2
    start = max(n // 2 - half, 0)
    groups = (("largest", range(min(most, n))), ("middle", range(start, min(start + most, n))),
              ("smallest", range(max(n - most, 0), n)))  # fmt: skip
    ranks: dict[int, str] = {}
    for name, places in (groups[0], groups[2], groups[1]):  # few cases: the ends are named first
        for place in places:
            ranks.setdefault(place, name)
    return [(int(order[place]), ranks[place]) for place in sorted(ranks)]
