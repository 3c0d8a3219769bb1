"""The effect matrix: what each edit did to each attribute, with its interval, its p-values and a verdict.

Rows are edits, columns are attributes that a judge scores (a probability's logit, years of age, a measured ratio).
A cell's effect is the mean over images of the score of the edited image less that of the *reconstruction*; images of
one patient are drawn, left out and turned together.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from prism_jax.stats.cluster_bootstrap import resample, worth
from prism_jax.stats.cluster_sums import PatientSums, beside, patient_sums
from prism_jax.stats.intervals import BootstrapConfig, Estimate
from prism_jax.stats.sign_flip_test import FlipConfig, false_discovery, flip

ON, OFF, PLACEBO = "on-target", "off-target", "placebo"
EFFECT, SLIGHT, NONE = "effect", "effect within the margin", "no effect"
OPEN, FEW = "open", "cannot be concluded"
NOTHING = Estimate(value=float("nan"), low=float("nan"), high=float("nan"), count=0)

Family = Literal["on-target", "off-target", "placebo"]
Verdict = Literal["effect", "effect within the margin", "no effect", "open", "cannot be concluded"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EffectConfig:
    """How cells are judged."""

    level: float = 0.95  # of the intervals
    alpha: float = 0.05  # an effect is called where its q (or family-wise p) is at most this
    control: Literal["discoveries", "family"] = "discoveries"  # which of the two: share of false calls, or any at all
    margin: float = 0.2  # changes within ± this are no effect; of `margin_of`
    margin_of: Literal["spread", "unit"] = "spread"  # sd of the reconstructions' scores over patients; the score's unit
    fewest: float = 10  # patients, all of one weight, below which nothing is concluded
    bootstrap: BootstrapConfig = BootstrapConfig()  # its level is not used
    flips: FlipConfig = FlipConfig()

    def __post_init__(self):
        if not (0 < self.level < 1 and 0 < self.alpha < 1):
            raise ValueError(f"level {self.level} and alpha {self.alpha} must lie between 0 and 1; use 0.95 and 0.05")
        if self.margin <= 0:
            raise ValueError(f"margin {self.margin} makes every change an effect; use a positive one, as 0.2")
        if self.fewest < 2:
            raise ValueError(f"fewest {self.fewest} patients tell nothing; use 2 or more, better 10")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """What one edit did, image by image. All arrays have a row an image, in one order."""

    changes: np.ndarray  # float [n, c] edited less reconstruction, NaN where not measured
    patients: np.ndarray  # [n] whose image it is
    before: np.ndarray | None = None  # float [n, c] the reconstruction's score: changes are held against its spread
    images: np.ndarray | None = None  # [n] names, each once; rows are paired by them
    targets: tuple[str, ...] = ()  # columns that the edit is meant to change: a family of their own
    is_placebo: bool = False  # an edit that should change nothing: the noise floor

    @classmethod
    def of(cls, before: np.ndarray, after: np.ndarray, patients: np.ndarray, **fields) -> "Row":
        """The row of scores [n, c] of the reconstructions and of the edited images."""
        before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
        return cls(changes=after - before, before=before, patients=np.asarray(patients), **fields)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One edit and one attribute. Counts of the estimates are patients; NaN where nothing can be said."""

    edit: str
    column: str
    family: Family  # cells that are corrected together
    images: int
    worth: float  # patients of one weight that would say as much, at least
    effect: Estimate  # mean change, in the score's unit
    spread: float  # sd over patients of the reconstructions' (mean) score; NaN where it is not known
    standardised: Estimate  # effect / spread; the interval has the error of both
    p: float  # sign flips, two-sided
    q: float  # Benjamini-Hochberg within the family
    family_p: float  # step-down max-T within the family
    margin: float  # within ± this, in the unit of `within`, there is no effect to speak of
    within: Estimate  # the 90 % interval that two one-sided tests at 5 % look at (of `standardised` or `effect`)
    verdict: Verdict
    reason: str = ""  # why nothing can be concluded

    @property
    def is_equivalent(self) -> bool:
        """Whether two one-sided tests (Schuirmann 1987) say that the effect lies within the margin."""
        return _is_within(self.within, self.margin)

    @property
    def is_called(self) -> bool:
        """Whether an effect was found, of whatever size."""
        return self.verdict in (EFFECT, SLIGHT)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effects:
    """All cells, edit by edit."""

    config: EffectConfig
    edits: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]

    def cell(self, edit: str, column: str) -> Cell:
        """The cell of an edit and an attribute."""
        if edit not in self.edits or column not in self.columns:
            raise ValueError(f"no cell {edit!r}, {column!r}; edits: {self.edits}; attributes: {self.columns}")
        return self.cells[self.edits.index(edit) * len(self.columns) + self.columns.index(column)]

    def grid(self, of: Callable[[Cell], float]) -> np.ndarray:
        """float [edits, columns] of a number of each cell, for example `lambda cell: cell.standardised.value`."""
        return np.array([of(cell) for cell in self.cells], np.float64).reshape(len(self.edits), len(self.columns))


def measure(rows: Mapping[str, Row], columns: Sequence[str], config: EffectConfig | None = None) -> Effects:
    """Every cell of `rows`, whose arrays have one column for each name in `columns`.

    The families (what the edits are meant to change, everything else, placebos) are corrected apart: sure hits on
    target would otherwise lend false ones beside it their significance. Cells with fewer patients than the
    configuration asks for are in no family.

    Raises:
      ValueError: rows that do not fit the columns or each other.
    """
    config = config or EffectConfig()
    _check(rows, columns)
    names = np.unique(np.concatenate([row.patients for row in rows.values()]))
    sums = beside([patient_sums(row.changes, row.before, row.patients, names) for row in rows.values()])
    families = np.array([_family(row, column) for row in rows.values() for column in columns])
    patients, like = np.count_nonzero(sums.images, axis=0), worth(sums.images)
    reasons = [_too_few(*numbers, config) for numbers in zip(patients, like, strict=True)]
    chances = _chances(sums, families, np.array([not reason for reason in reasons]), config)
    sizes, images = _sizes(sums, config), sums.images.sum(axis=0)
    places = [(edit, column) for edit in rows for column in columns]
    cells = [
        _cell(place, str(families[i]), (images[i], like[i]), sizes[i], chances[:, i], reasons[i], config)
        for i, place in enumerate(places)
    ]
    return Effects(config=config, edits=tuple(rows), columns=tuple(columns), cells=tuple(cells))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Size:
    effect: Estimate
    spread: float
    standardised: Estimate
    within: Estimate


def _sizes(sums: PatientSums, config: EffectConfig) -> dict[int, _Size]:
    """How large each cell's effect is; every cell that somebody was measured in."""
    found = {}
    for patients, cells in sums.groups():
        if not len(patients):
            found |= {
                int(cell): _Size(effect=NOTHING, spread=np.nan, standardised=NOTHING, within=NOTHING) for cell in cells
            }
            continue
        one = sums.columns(cells)
        levels = one.levels[patients] - one.levels[patients].mean(axis=0)  # centred: sums of squares do not cancel
        parts = [one.changes[patients], one.images[patients], levels, levels**2, np.ones((len(patients), 1))]
        weights = np.tile(one.images[patients], (1, 2))
        seen = resample(_means, np.concatenate(parts, axis=1), weights=weights, config=config.bootstrap)
        estimates = seen.estimates(config.level, len(patients))
        narrow = seen.estimates(1 - 2 * config.alpha, len(patients))
        spreads = _spread(parts[2].sum(axis=0), parts[3].sum(axis=0), len(patients))
        shift = len(cells) if config.margin_of == "spread" else 0
        for i, cell in enumerate(cells):
            found[int(cell)] = _Size(
                effect=estimates[i],
                spread=float(spreads[i]),
                standardised=estimates[len(cells) + i],
                within=narrow[shift + i],
            )
    return found


def _means(sums: np.ndarray) -> np.ndarray:
    """[..., 2 c] Mean changes and the same over the spread, of sums [..., 4 c + 1]."""
    changes, images, levels, squares = np.split(sums[..., :-1], 4, axis=-1)
    mean = changes / images
    return np.concatenate([mean, mean / _spread(levels, squares, sums[..., -1:])], axis=-1)


def _spread(levels: np.ndarray, squares: np.ndarray, count: np.ndarray | int) -> np.ndarray:
    """Standard deviation over patients; NaN of one patient, or where all are alike."""
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.asarray((squares - levels**2 / count) / (count - 1))
        return np.sqrt(np.where(variance > 0, variance, np.nan))


def _chances(sums: PatientSums, families: np.ndarray, counted: np.ndarray, config: EffectConfig) -> np.ndarray:
    """[3, c] p, q and family-wise p, family by family; NaN for cells that are not `counted`."""
    chances = np.full((3, len(families)), np.nan)
    for family in (ON, OFF, PLACEBO):
        cells = np.flatnonzero((families == family) & counted)
        if len(cells):
            changes = sums.columns(cells)
            changes = changes.changes[changes.images.any(axis=1)]
            flipped = flip(changes, config.flips)
            chances[:, cells] = flipped.p, false_discovery(flipped.p), flipped.family_p
    return chances


def _cell(
    place: tuple[str, str],
    family: Family,
    images: tuple[float, float],
    size: _Size,
    chances: np.ndarray,
    reason: str,
    config: EffectConfig,
) -> Cell:
    p, q, family_p = (float(chance) for chance in chances)
    chance = q if config.control == "discoveries" else family_p
    return Cell(
        edit=place[0],
        column=place[1],
        family=family,
        images=int(images[0]),
        worth=float(images[1]),
        effect=size.effect,
        spread=size.spread,
        standardised=size.standardised,
        p=p,
        q=q,
        family_p=family_p,
        margin=config.margin,
        within=size.within,
        verdict=FEW if reason else _verdict(chance <= config.alpha, _is_within(size.within, config.margin)),
        reason=reason,
    )


def _is_within(interval: Estimate, margin: float) -> bool:
    return bool(-margin < interval.low and interval.high < margin)


def _verdict(is_significant: bool, is_equivalent: bool) -> Verdict:
    if is_significant:
        return SLIGHT if is_equivalent else EFFECT
    return NONE if is_equivalent else OPEN


def _too_few(patients: int, like: float, config: EffectConfig) -> str:
    """Why a cell of so many patients, worth `like`, says nothing; "" if it does."""
    if like >= config.fewest:
        return ""
    if patients < config.fewest:
        return f"{patients} patients; {config.fewest:g} are needed"
    return f"{patients} patients of uneven weight, worth {like:.1f}; {config.fewest:g} are needed"


def _family(row: Row, column: str) -> Family:
    return PLACEBO if row.is_placebo else ON if column in row.targets else OFF


def _check(rows: Mapping[str, Row], columns: Sequence[str]) -> None:
    if not rows or not columns or len(set(columns)) < len(columns):
        raise ValueError(f"{len(rows)} edits and the attributes {tuple(columns)}: give one or more of each, each once")
    for name, row in rows.items():
        shape = (len(row.patients), len(columns))
        for what, array in (("changes", row.changes), ("before", row.before)):
            if array is not None and np.shape(array) != shape:
                raise ValueError(f"edit {name!r}: {what} has shape {np.shape(array)}; {shape} are patients, attributes")
        if np.isinf(row.changes).any():
            raise ValueError(f"edit {name!r}: changes are infinite; clip probabilities before taking logits")
        if row.before is not None and np.any(~np.isnan(row.changes) & ~np.isfinite(row.before)):
            raise ValueError(f"edit {name!r}: a change is known where the score before is not; make it NaN")
        if unknown := sorted(set(row.targets) - set(columns)):
            raise ValueError(f"edit {name!r} is meant to change {unknown}, which is no attribute of {tuple(columns)}")
