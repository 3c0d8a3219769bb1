"""Effect matrix of a page: clickable cells, and the images behind each cell."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np

from prism_jax.report.images import check_image

FAINTEST = 0.06  # least visible opacity of a cell's colour
Mark = Literal[
    "family", "discovery", "negligible", "control-like", "none", "insufficient", "inconclusive", "unreliable"
]
MARKS: Mapping[Mark, tuple[str, str]] = {  # sign and meaning, in the order of the legend
    "family": ("●", "effect, significant after family-wise error control"),
    "discovery": ("○", "effect, significant at the stated false discovery rate"),
    "negligible": ("▿", "significant, but negligibly small"),
    "control-like": ("◌", "significant, but no larger than under negative controls"),
    "none": ("≈", "no effect: equivalence shown within the margin"),
    "inconclusive": ("", "inconclusive: neither an effect nor its absence is shown"),
    "insufficient": ("·", "insufficient data: too few patients"),
    "unreliable": ("?", "not interpretable: the judges do not recognise this attribute reliably"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeatCell:
    """One edit and one attribute."""

    value: float  # colour: red above 0, blue below, full at ± the map's limit; NaN is left blank
    text: str  # printed in the cell
    mark: Mark
    detail: str  # in words, above the images and for screen readers
    is_target: bool = False  # the edit is meant to change this attribute

    def opacity(self, limit: float) -> float:
        """Of its colour, from 0 (also for NaN and barely visible colours) to 1 at `limit`."""
        fraction = min(abs(self.value) / limit, 1.0)
        return fraction if fraction >= FAINTEST else 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeatMap:
    """All cells as scored by one judge, or by all of them together."""

    name: str
    cells: tuple[tuple[HeatCell, ...], ...]  # rows of the matrix x columns of the matrix
    limit: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exhibit:
    """The images of one edit of one image, uint8 [h, w], and the judges' scores of them."""

    image: str
    patient: str
    row: int  # the edit
    original: np.ndarray
    reconstruction: np.ndarray
    edited: np.ndarray
    truth: np.ndarray | None = None
    readings: tuple[str, ...] = ()  # by column: each judge's score before and after

    def __post_init__(self) -> None:
        for name in ("original", "reconstruction", "edited", "truth"):
            if (image := getattr(self, name)) is not None:
                check_image(image, f"{name} of image {self.image}", np.shape(self.original))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """An exhibit under a cell."""

    exhibit: int  # index into the exhibits
    rank: str  # "largest", "middle" or "smallest" effect
    change: str  # with sign and unit


@dataclasses.dataclass(frozen=True, kw_only=True)
class EffectMap:
    """Effects of edits (rows) on attributes (columns), once per judge, with the images behind each cell."""

    rows: tuple[str, ...]  # edits
    controls: frozenset[str]  # those of `rows` that are negative controls
    columns: tuple[str, ...]  # attributes
    maps: tuple[HeatMap, ...]
    note: str
    exhibits: tuple[Exhibit, ...]
    shown: Mapping[tuple[int, int], tuple[Shown, ...]]  # (row, column) -> exhibits, sorted by effect

    def __post_init__(self) -> None:
        expected = [len(self.columns)] * len(self.rows)
        for heat_map in self.maps:
            if (sizes := [len(cells) for cells in heat_map.cells]) != expected:
                raise ValueError(
                    f"map {heat_map.name!r} has rows of {sizes} cells; the edits and attributes need {expected}"
                )


def ranked(changes: np.ndarray, most: int) -> list[tuple[int, str]]:
    """Selects which of `changes` [n] to show: up to `most` each of the largest, the middle and the smallest.

    Returns (index, rank) pairs; NaN is never shown, and nothing is shown twice.
    """
    order = np.argsort(-changes, kind="stable")[: int(np.count_nonzero(~np.isnan(changes)))]  # NaN sorts to the end
    n, half = len(order), most // 2
    start = max(n // 2 - half, 0)
    groups = (("largest", range(min(most, n))), ("middle", range(start, min(start + most, n))),
              ("smallest", range(max(n - most, 0), n)))  # fmt: skip
    ranks: dict[int, str] = {}
    for name, places in (groups[0], groups[2], groups[1]):  # the extremes come first if cases are few
        for place in places:
            ranks.setdefault(place, name)
    return [(int(order[place]), ranks[place]) for place in sorted(ranks)]
