"""Sign-flip permutation test of mean changes being 0, by patient, with step-down max-T family-wise p-values.

Under the null hypothesis a patient's change is as likely positive as negative, so all patterns of signs are equally
likely. The same sign for all cells of a patient keeps the dependence between cells, which makes the largest statistic
of each pattern the reference distribution for any number of cells (Westfall & Young 1993, step-down max-T).

The statistic is |sum of the patients' sums| over the root of their sum of squares, which sign flips do not change. The
test is exact for symmetric changes. For skewed ones p is about as accurate as that of a t-test, and the family-wise p
is too small: 9 % of families with exponential changes of 40 patients have a false cell at 5 % (table in the audit's
documentation).
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy import stats

BLOCK = 2**22  # numbers held at a time
ROUNDING = 1e-9  # statistics closer than this are ties


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignFlipConfig:
    """Options of the sign-flip test."""

    num_permutations: int = 20_000
    """Number of random sign patterns; all 2^P patterns are enumerated if that is fewer."""
    seed: int = 0
    """Seed of the sign patterns."""

    def __post_init__(self):
        if (count := self.num_permutations) < 100:
            raise ValueError(f"num_permutations must be 100 or more, got {count}: p is at least {1 / (count + 1):.2g}")


def sign_flip_test(sums: np.ndarray, config: SignFlipConfig | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(p [c] of each cell alone, family-wise p [c]), two-sided, of `sums` float [P, c].

    `sums` are the sums of the changes of each patient in each cell, 0 where not measured.

    Exact when all 2^P patterns are enumerated; else the observed pattern counts as one of those drawn (Phipson & Smyth
    2010), so no p-value is below 1 / (num_permutations + 1). A cell in which nothing changed has p-value 1.
    """
    config = config or SignFlipConfig()
    sums = np.asarray(sums, np.float64)
    size = np.sqrt(np.sum(sums**2, axis=0))
    scaled = np.divide(sums, size, out=np.zeros_like(sums), where=size > 0)
    observed = np.abs(scaled.sum(axis=0))
    order = np.argsort(-observed, kind="stable")
    observed, scaled = observed[order], scaled[:, order]
    alone, highest, tried = np.zeros(len(observed)), np.zeros(len(observed)), 0
    for signs in _signs(len(sums), config):
        flipped = np.abs(signs @ scaled)  # [b, c]
        alone += np.sum(flipped >= observed - ROUNDING, axis=0)
        # The maximum over this cell and all with smaller statistics (step-down).
        flipped = np.maximum.accumulate(flipped[:, ::-1], axis=1)[:, ::-1]
        highest += np.sum(flipped >= observed - ROUNDING, axis=0)
        tried += len(signs)
    extra = 0 if _is_exact(len(sums), config) else 1
    p, family = np.empty(len(observed)), np.empty(len(observed))
    p[order] = (alone + extra) / (tried + extra)
    family[order] = np.maximum.accumulate((highest + extra) / (tried + extra))
    return p, family


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Benjamini & Hochberg's (1995) adjusted p-values (q) of any shape; NaN stays NaN and is not counted."""
    p = np.asarray(p, np.float64)
    q, defined = np.full(p.shape, np.nan), ~np.isnan(p)
    if defined.any():
        q[defined] = stats.false_discovery_control(p[defined], method="bh")
    return q


def _is_exact(patients: int, config: SignFlipConfig) -> bool:
    return patients - 1 < np.log2(config.num_permutations + 0.5)


def _signs(patients: int, config: SignFlipConfig) -> Iterator[np.ndarray]:
    """Blocks [b, P] of 1 and -1. The first patient is never flipped: flipping all signs changes no statistic."""
    if _is_exact(patients, config):
        numbers = np.arange(2 ** max(patients - 1, 0))
        bits = numbers[:, None] >> np.arange(patients - 1)[None] & 1
        yield np.concatenate([np.ones((len(numbers), 1)), 1.0 - 2 * bits], axis=1)[:, :patients]
        return
    rng = np.random.default_rng(config.seed)
    step = max(1, BLOCK // patients)
    for start in range(0, config.num_permutations, step):
        yield 1.0 - 2 * rng.integers(2, size=(min(step, config.num_permutations - start), patients), dtype=np.int8)
