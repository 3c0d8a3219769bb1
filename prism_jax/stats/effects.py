"""The effect matrix: the effect of each edit on each attribute, with its interval, p-values and verdict.

Rows are edits, columns are attributes that a judge scores (a probability's logit, years of age, a measured ratio).
A cell's effect is the mean over images of the score of the edited image minus that of the *reconstruction*. Images of
one patient are resampled, left out and sign-flipped together.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from prism_jax.stats.cluster_bootstrap import effective_sample_size, resample
from prism_jax.stats.cluster_sums import PatientSums, concatenate_cells, patient_sums
from prism_jax.stats.intervals import NO_ESTIMATE, BootstrapConfig, Estimate
from prism_jax.stats.sign_flip_test import SignFlipConfig, benjamini_hochberg, sign_flip_test

ON, OFF, NEGATIVE_CONTROL = "on-target", "off-target", "negative control"
EFFECT, NEGLIGIBLE, NO_EFFECT = "effect", "negligible effect", "no effect"
INCONCLUSIVE, INSUFFICIENT_DATA = "inconclusive", "insufficient data"

Family = Literal["on-target", "off-target", "negative control"]
Verdict = Literal["effect", "negligible effect", "no effect", "inconclusive", "insufficient data"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EffectConfig:
    """Confidence level, error control, equivalence margin and sample size of the verdicts."""

    level: float = 0.95  # confidence level of the intervals
    alpha: float = 0.05  # an effect is significant where its q (or family-wise p) is at most this
    control: Literal["fdr", "fwer"] = "fdr"  # false discovery rate (q) or family-wise error rate (family_p)
    margin: float = 0.2  # equivalence margin: changes within ± this are negligible
    margin_of: Literal["std", "unit"] = "std"  # std of the reconstructions' scores over patients, or the score's unit
    min_patients: float = 10  # effective sample size below which a cell has insufficient data
    bootstrap: BootstrapConfig = BootstrapConfig()  # its level is not used
    sign_flips: SignFlipConfig = SignFlipConfig()

    def __post_init__(self):
        if not (0 < self.level < 1 and 0 < self.alpha < 1):
            raise ValueError(f"level {self.level} and alpha {self.alpha} must lie between 0 and 1; use 0.95 and 0.05")
        if self.margin <= 0:
            raise ValueError(f"margin must be above 0, got {self.margin}; 0.2 is usual")
        if self.min_patients < 2:
            raise ValueError(f"min_patients must be 2 or more, got {self.min_patients}; 10 is usual")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """Score changes of one edit. All arrays have one row per image, in the same order."""

    changes: np.ndarray  # float [n, c] edited minus reconstruction, NaN where not measured
    patients: np.ndarray  # [n] patient of each image
    before: np.ndarray | None = None  # float [n, c] scores of the reconstructions, whose std standardises
    images: np.ndarray | None = None  # [n] unique names, by which rows are paired
    targets: tuple[str, ...] = ()  # columns that the edit is meant to change (family "on-target")
    is_negative_control: bool = False  # a placebo edit, which should change nothing: the noise floor

    @classmethod
    def of(cls, before: np.ndarray, after: np.ndarray, patients: np.ndarray, **fields) -> "Row":
        """The row of scores [n, c] of the reconstructions and of the edited images."""
        before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
        return cls(changes=after - before, before=before, patients=np.asarray(patients), **fields)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """Effect of one edit on one attribute. Counts of the estimates are patients; NaN where not estimated."""

    edit: str
    column: str
    family: Family  # cells that are corrected together
    images: int
    effective_sample_size: float  # Kish, in patients
    effect: Estimate  # mean change, in the score's unit
    std: float  # over patients, of the reconstructions' (mean) score; NaN where unknown
    standardised: Estimate  # effect / std; the interval includes the error of both
    p: float  # sign-flip test, two-sided
    q: float  # Benjamini-Hochberg within the family
    family_p: float  # step-down max-T within the family
    margin: float  # equivalence margin, in the unit of `within`
    within: Estimate  # `standardised` or `effect` with the 90 % interval of two one-sided tests at 5 % (TOST)
    verdict: Verdict
    reason: str = ""  # why the data are insufficient

    @property
    def is_equivalent(self) -> bool:
        """True if the effect lies within the margin by two one-sided tests (Schuirmann 1987)."""
        return _is_within(self.within, self.margin)

    @property
    def is_called(self) -> bool:
        """True if the effect is significant, negligible or not."""
        return self.verdict in (EFFECT, NEGLIGIBLE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effects:
    """The effect matrix: all cells, edit by edit."""

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
    """The effect matrix of `rows`, whose arrays have one column for each name in `columns`.

    The families (on-target, off-target, negative controls) are corrected separately: under one correction for all, the
    many true on-target effects would make false off-target ones significant. Cells with insufficient data are in no
    family.

    Raises:
      ValueError: rows that do not fit the columns or each other.
    """
    config = config or EffectConfig()
    _check(rows, columns)
    names = np.unique(np.concatenate([row.patients for row in rows.values()]))
    sums = concatenate_cells([patient_sums(row.changes, row.before, row.patients, names) for row in rows.values()])
    families = np.array([_family(row, column) for row in rows.values() for column in columns])
    patients, effective = np.count_nonzero(sums.images, axis=0), effective_sample_size(sums.images)
    reasons = [_too_few(*numbers, config) for numbers in zip(patients, effective, strict=True)]
    p_values = _p_values(sums, families, np.array([not reason for reason in reasons]), config)
    sizes, images = _sizes(sums, config), sums.images.sum(axis=0)
    places = [(edit, column) for edit in rows for column in columns]
    cells = [
        _cell(place, str(families[i]), (images[i], effective[i]), sizes[i], p_values[:, i], reasons[i], config)
        for i, place in enumerate(places)
    ]
    return Effects(config=config, edits=tuple(rows), columns=tuple(columns), cells=tuple(cells))


def _sizes(sums: PatientSums, config: EffectConfig) -> dict[int, dict[str, Any]]:
    """`effect`, `std`, `standardised` and `within` of each cell, by its index."""
    sizes = {}
    for patients, cells in sums.groups():
        if not len(patients):
            unknown = dict(effect=NO_ESTIMATE, std=np.nan, standardised=NO_ESTIMATE, within=NO_ESTIMATE)
            sizes |= {int(cell): unknown for cell in cells}
            continue
        group = sums.columns(cells)
        levels = group.levels[patients] - group.levels[patients].mean(axis=0)  # centred: sums of squares do not cancel
        parts = [group.changes[patients], group.images[patients], levels, levels**2, np.ones((len(patients), 1))]
        weights = np.tile(group.images[patients], (1, 2))
        resampled = resample(_means, np.concatenate(parts, axis=1), weights=weights, config=config.bootstrap)
        estimates = resampled.estimates(config.level, len(patients))
        narrow = resampled.estimates(1 - 2 * config.alpha, len(patients))
        stds = _std(parts[2].sum(axis=0), parts[3].sum(axis=0), len(patients))
        shift = len(cells) if config.margin_of == "std" else 0
        for i, cell in enumerate(cells):
            sizes[int(cell)] = dict(
                effect=estimates[i],
                std=float(stds[i]),
                standardised=estimates[len(cells) + i],
                within=narrow[shift + i],
            )
    return sizes


def _means(sums: np.ndarray) -> np.ndarray:
    """[..., 2 c] Mean changes, and mean changes / std, of sums [..., 4 c + 1]."""
    changes, images, levels, squares = np.split(sums[..., :-1], 4, axis=-1)
    mean = changes / images
    return np.concatenate([mean, mean / _std(levels, squares, sums[..., -1:])], axis=-1)


def _std(levels: np.ndarray, squares: np.ndarray, count: np.ndarray | int) -> np.ndarray:
    """Standard deviation over patients; NaN for one patient, or where all are equal."""
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.asarray((squares - levels**2 / count) / (count - 1))
        return np.sqrt(np.where(variance > 0, variance, np.nan))


def _p_values(sums: PatientSums, families: np.ndarray, counted: np.ndarray, config: EffectConfig) -> np.ndarray:
    """[3, c] p, q and family-wise p, family by family; NaN for cells that are not `counted`."""
    p_values = np.full((3, len(families)), np.nan)
    for family in (ON, OFF, NEGATIVE_CONTROL):
        cells = np.flatnonzero((families == family) & counted)
        if len(cells):
            changes = sums.columns(cells)
            changes = changes.changes[changes.images.any(axis=1)]
            p, family_p = sign_flip_test(changes, config.sign_flips)
            p_values[:, cells] = p, benjamini_hochberg(p), family_p
    return p_values


def _cell(
    place: tuple[str, str],
    family: Family,
    images: tuple[float, float],
    size: Mapping[str, Any],
    p_values: np.ndarray,
    reason: str,
    config: EffectConfig,
) -> Cell:
    p, q, family_p = (float(value) for value in p_values)
    controlled = q if config.control == "fdr" else family_p
    is_equivalent = _is_within(size["within"], config.margin)
    verdict = NO_EFFECT if is_equivalent else INCONCLUSIVE
    if controlled <= config.alpha:
        verdict = NEGLIGIBLE if is_equivalent else EFFECT
    return Cell(
        edit=place[0],
        column=place[1],
        family=family,
        images=int(images[0]),
        effective_sample_size=float(images[1]),
        p=p,
        q=q,
        family_p=family_p,
        margin=config.margin,
        **size,
        verdict=INSUFFICIENT_DATA if reason else verdict,
        reason=reason,
    )


def _is_within(interval: Estimate, margin: float) -> bool:
    return bool(-margin < interval.low and interval.high < margin)


def _too_few(patients: int, effective: float, config: EffectConfig) -> str:
    """The reason why the patients of a cell are too few; "" if they are enough."""
    if effective >= config.min_patients:
        return ""
    if patients < config.min_patients:
        return f"{patients} patients; {config.min_patients:g} are needed"
    return f"effective sample size {effective:.1f} of {patients} patients; {config.min_patients:g} is needed"


def _family(row: Row, column: str) -> Family:
    return NEGATIVE_CONTROL if row.is_negative_control else ON if column in row.targets else OFF


def _check(rows: Mapping[str, Row], columns: Sequence[str]) -> None:
    if not rows or not columns or len(set(columns)) < len(columns):
        raise ValueError(f"{len(rows)} edits and the attributes {tuple(columns)}: give one or more of each, each once")
    for name, row in rows.items():
        shape = (len(row.patients), len(columns))
        for kind, array in (("changes", row.changes), ("before", row.before)):
            if array is not None and np.shape(array) != shape:
                raise ValueError(f"edit {name!r}: {kind} has shape {np.shape(array)}; {shape} are patients, attributes")
        if np.isinf(row.changes).any():
            raise ValueError(f"edit {name!r}: changes are infinite; clip probabilities before taking logits")
        if row.before is not None and np.any(~np.isnan(row.changes) & ~np.isfinite(row.before)):
            raise ValueError(f"edit {name!r}: a change is given where the score before is not; make it NaN")
        if unknown := sorted(set(row.targets) - set(columns)):
            raise ValueError(f"edit {name!r} is meant to change {unknown}, which is no attribute of {tuple(columns)}")
