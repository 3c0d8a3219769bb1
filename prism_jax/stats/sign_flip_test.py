"""Is a mean change other than 0? Signs of whole patients are turned round, the same for all cells.

Where an edit does nothing, a patient's change is as likely the one way as the other, so every pattern of signs was as
likely as the one seen. Turning all cells of a patient together keeps how cells go together, which makes the largest
statistic of each pattern the yardstick for any number of cells (Westfall & Young 1993, step-down max-T).

The statistic is |sum of the patients' sums| over the root of their sum of squares, which turning does not change.
Symmetry is what makes the test exact. Without it p is about as right as that of a t-test, and the family-wise p is too
small: 9 % of families with exponential changes of 40 patients have a false cell at 5 % (docs/audit.md).
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy import stats

BLOCK = 2**22  # numbers held at a time
ROUNDING = 1e-9  # statistics closer than this are ties


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlipConfig:
    """How many patterns of signs are tried; all there are, where they are no more than that."""

    flips: int = 20_000
    seed: int = 0

    def __post_init__(self):
        if self.flips < 100:
            raise ValueError(f"flips {self.flips} cannot give a p-value below {1 / (self.flips + 1):.2g}; use 1000")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flipped:
    """Two-sided p-values of c cells."""

    p: np.ndarray  # [c] of each cell by itself
    family_p: np.ndarray  # [c] adjusted: what is at most a level has even one false cell no more often than that


def flip(sums: np.ndarray, config: FlipConfig | None = None) -> Flipped:
    """P-values of `sums` float [P, c], the sum of the changes of each patient in each cell; 0 where not measured.

    Exact when all 2^P patterns are tried; else the pattern seen counts as one of those tried (Phipson & Smyth 2010),
    so no p-value is below 1 / (flips + 1). A cell in which nothing changed has p-value 1.
    """
    config = config or FlipConfig()
    sums = np.asarray(sums, np.float64)
    size = np.sqrt(np.sum(sums**2, axis=0))
    scaled = np.divide(sums, size, out=np.zeros_like(sums), where=size > 0)
    seen = np.abs(scaled.sum(axis=0))
    order = np.argsort(-seen, kind="stable")
    seen, scaled = seen[order], scaled[:, order]
    alone, highest, tried = np.zeros(len(seen)), np.zeros(len(seen)), 0
    for signs in _signs(len(sums), config):
        turned = np.abs(signs @ scaled)  # [b, c]
        alone += np.sum(turned >= seen - ROUNDING, axis=0)
        # Of this cell and all with smaller statistics: those above have been called already.
        turned = np.maximum.accumulate(turned[:, ::-1], axis=1)[:, ::-1]
        highest += np.sum(turned >= seen - ROUNDING, axis=0)
        tried += len(signs)
    extra = 0 if _is_exact(len(sums), config) else 1
    p, family = np.empty(len(seen)), np.empty(len(seen))
    p[order] = (alone + extra) / (tried + extra)
    family[order] = np.maximum.accumulate((highest + extra) / (tried + extra))
    return Flipped(p=p, family_p=family)


def false_discovery(p: np.ndarray) -> np.ndarray:
    """Benjamini & Hochberg's q of p-values of any shape; NaN stays and is not counted."""
    p = np.asarray(p, np.float64)
    q, known = np.full(p.shape, np.nan), ~np.isnan(p)
    if known.any():
        q[known] = stats.false_discovery_control(p[known], method="bh")
    return q


def _is_exact(patients: int, config: FlipConfig) -> bool:
    return patients - 1 < np.log2(config.flips + 0.5)


def _signs(patients: int, config: FlipConfig) -> Iterator[np.ndarray]:
    """Blocks [b, P] of 1 and -1. The first patient is never turned: all signs the other way say the same."""
    if _is_exact(patients, config):
        numbers = np.arange(2 ** max(patients - 1, 0))
        bits = numbers[:, None] >> np.arange(patients - 1)[None] & 1
        yield np.concatenate([np.ones((len(numbers), 1)), 1.0 - 2 * bits], axis=1)[:, :patients]
        return
    rng = np.random.default_rng(config.seed)
    step = max(1, BLOCK // patients)
    for start in range(0, config.flips, step):
        yield 1.0 - 2 * rng.integers(2, size=(min(step, config.flips - start), patients), dtype=np.int8)
