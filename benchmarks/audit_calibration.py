"""Calibration of the audit's statistics: error rates and coverage on simulated effect matrices with known truth.

python -m benchmarks.audit_calibration                  5,000 matrices, some minutes on one core
python -m benchmarks.audit_calibration --matrices 220

A matrix has 6 edits and 8 attributes. Of its 48 cells 36 have no effect, 4 one that lies exactly on the margin of
equivalence, 8 a larger one. Columns, edits and images of a patient are correlated; patients have 1 to 6 images.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import tyro
from tqdm import tqdm

from benchmarks import tables
from prism_jax import entrypoint
from prism_jax.stats.cluster_bootstrap import resample
from prism_jax.stats.effects import EffectConfig, Effects, Row, measure
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.stats.sign_flip_test import SignFlipConfig

EDITS, COLUMNS = 6, 8
MARGINAL, LARGER = 4, 8  # cells with an effect
NOISE = 0.5  # sd of a change, its patient's part and its image's together, between-patient sd of scores about 1
ICC, WITHIN = 0.5, 0.5  # intraclass correlation of the noise; std of scores within a patient
SHAPES: Mapping[str, Callable] = {  # mean 0, sd 1
    "normal": lambda rng, size: rng.normal(size=size),
    "heavy tails (t3)": lambda rng, size: rng.standard_t(3, size=size) / np.sqrt(3),
    "skewed (exponential)": lambda rng, size: rng.exponential(size=size) - 1,
    "mostly still": lambda rng, size: rng.normal(size=size) * (rng.random(size) < 0.2) / np.sqrt(0.2),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario:
    """How matrices are drawn."""

    patients: int
    most: int = 6  # images of a patient, 1 to this
    shape: str = "normal"
    is_null: bool = False  # no cell has an effect

    @property
    def spread(self) -> float:
        """The true sd over patients of their mean score before the edit."""
        return float(np.sqrt(1 + WITHIN**2 * np.mean(1 / np.arange(1, self.most + 1))))


SCENARIOS = (
    Scenario(patients=10, most=1),
    Scenario(patients=15, shape="heavy tails (t3)"),
    Scenario(patients=20, most=1, shape="heavy tails (t3)"),
    Scenario(patients=20, shape="skewed (exponential)"),
    Scenario(patients=20, is_null=True),
    Scenario(patients=40),
    Scenario(patients=40, shape="heavy tails (t3)"),
    Scenario(patients=40, shape="skewed (exponential)"),
    Scenario(patients=40, shape="mostly still"),
    Scenario(patients=100, shape="heavy tails (t3)"),
    Scenario(patients=100, is_null=True),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How much is simulated."""

    matrices: int = 5000  # over all scenarios
    resamples: int = 1000
    num_permutations: int = 2000
    seed: int = 0

    @property
    def effects(self) -> EffectConfig:
        """How the matrices are judged."""
        return EffectConfig(
            bootstrap=BootstrapConfig(resamples=self.resamples, seed=self.seed),
            sign_flips=SignFlipConfig(num_permutations=self.num_permutations, seed=self.seed),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """A rate over matrices and its Monte Carlo error (of the mean over independent matrices)."""

    value: float
    error: float

    @classmethod
    def of(cls, matrices: Iterable[float]) -> "Rate":
        """The mean over matrices; NaN (a matrix without such cells) is left out."""
        known = np.array([one for one in matrices if not np.isnan(one)])
        if not len(known):
            return cls(value=float("nan"), error=float("nan"))
        return cls(value=float(known.mean()), error=float(known.std() / np.sqrt(len(known))))

    def __str__(self) -> str:
        return "" if np.isnan(self.value) else f"{100 * self.value:.1f} ± {100 * self.error:.1f}"


RATES = {  # rate -> its nominal value
    "false discoveries": "at most 5",
    "any false cell, max-T": "at most 5",
    "p ≤ 0.05 without effect": "5",
    "interval holds the effect": "93 to 97",
    "interval holds it standardised": "93 to 97",
    "called equal, on the margin": "at most 5",
    "found, larger effects": "",
    "called equal, no effect": "",
}


def simulate(scenario: Scenario, matrices: int, options: Options) -> dict[str, Rate]:
    """The rates of `RATES` over this many matrices."""
    rng = np.random.default_rng([options.seed, SCENARIOS.index(scenario) if scenario in SCENARIOS else len(SCENARIOS)])
    config = options.effects
    scores = [_judged(*draw(scenario, rng, config.margin), scenario.spread, config) for _ in range(matrices)]
    return {what: Rate.of(one[what] for one in scores) for what in RATES}


def draw(scenario: Scenario, rng: np.random.Generator, margin: float) -> tuple[dict[str, Row], np.ndarray]:
    """(Rows of one matrix, their true standardised effects [edits, columns])."""
    counts = rng.integers(1, scenario.most + 1, scenario.patients)
    owner = np.repeat(np.arange(scenario.patients), counts)
    truth = np.zeros(EDITS * COLUMNS)
    if not scenario.is_null:
        places = rng.permutation(len(truth))[: MARGINAL + LARGER]
        truth[places[:MARGINAL]] = margin
        truth[places[MARGINAL:]] = rng.uniform(0.3, 0.8, LARGER)
        truth[places] *= rng.choice([-1, 1], len(places))
    shape = functools.partial(SHAPES[scenario.shape], rng)
    patient = _together(shape, (scenario.patients, len(truth)))[owner]
    image = _together(shape, (len(owner), len(truth)))
    noise = NOISE * (np.sqrt(ICC) * patient + np.sqrt(1 - ICC) * image)
    before = rng.normal(size=(scenario.patients, COLUMNS))[owner] + WITHIN * rng.normal(size=(len(owner), COLUMNS))
    changes = np.split(scenario.spread * truth + noise, EDITS, axis=1)
    rows = {f"edit {i}": Row(changes=changes[i], before=before, patients=owner) for i in range(EDITS)}
    return rows, truth.reshape(EDITS, COLUMNS)


def _together(shape: Callable, size: tuple[int, int]) -> np.ndarray:
    """Noise with half of the variance common to all cells, with either sign."""
    signs = np.where(np.arange(size[1]) % 2, 1, -1)
    return np.sqrt(0.5) * (signs * shape((size[0], 1)) + shape(size))


def _judged(rows: dict[str, Row], truth: np.ndarray, spread: float, config: EffectConfig) -> dict[str, float]:
    found = measure(rows, [f"attribute {i}" for i in range(COLUMNS)], config)
    is_null, marginal = truth == 0, np.abs(truth) == config.margin
    larger = ~is_null & ~marginal
    q, family, p = (found.grid(of) for of in (lambda c: c.q, lambda c: c.family_p, lambda c: c.p))
    called = q <= config.alpha
    equal = found.grid(lambda cell: cell.is_equivalent) == 1
    share = lambda hits, where: float(hits[where].mean()) if where.any() else float("nan")
    scores = (
        float((called & is_null).sum() / max(called.sum(), 1)),
        float((family[is_null] <= config.alpha).any()),
        share(p <= config.alpha, is_null),
        share(_holds(found, lambda cell: cell.effect, truth * spread), np.full(truth.shape, True)),
        share(_holds(found, lambda cell: cell.standardised, truth), np.full(truth.shape, True)),
        share(equal, marginal),
        share(called, larger),
        share(equal, is_null),
    )
    return dict(zip(RATES, scores, strict=True))


def _holds(found: Effects, of: Callable, truth: np.ndarray) -> np.ndarray:
    return (found.grid(lambda c: of(c).low) <= truth) & (truth <= found.grid(lambda c: of(c).high))


def intervals(options: Options, *, patients: Iterable[int] = (10, 20, 40, 100), times: int = 40) -> str:
    """A table of how often 95 % intervals of a mean change hold it, and of how wide they are, by kind."""
    kinds = {
        "BCa": lambda found: found.bca(0.95, is_expanded=False),
        "BCa, expanded": lambda found: found.bca(0.95),
        "Student's t": lambda found: found.student(0.95),
        "hull (used)": lambda found: found.interval(0.95),
    }
    rows = []
    for count in patients:
        for shape in SHAPES:
            found = _held(Scenario(patients=count, shape=shape), kinds, times, options)
            rows.append((str(count), shape, *(f"{held:.1%} ({width:.2f})" for held, width in found)))
    return tables.markdown(("patients", "changes", *kinds), rows)


def _held(scenario: Scenario, kinds: Mapping[str, Callable], times: int, options: Options) -> list[tuple[float, float]]:
    """(Fraction of intervals that cover 0, their median width over NOISE) of each kind; 50 cells at a time."""
    rng = np.random.default_rng([options.seed, scenario.patients])
    shape, cells = functools.partial(SHAPES[scenario.shape], rng), 50
    mean = lambda sums: sums[..., :cells] / sums[..., cells:]
    held, widths = np.zeros((len(kinds), times)), np.zeros((len(kinds), times))
    for time in range(times):
        counts = rng.integers(1, scenario.most + 1, scenario.patients)[:, None]
        # The sum of n images has n times the patient's part and the sum of n parts of their own.
        own = np.add.reduceat(shape((counts.sum(), cells)), np.cumsum(counts) - counts[:, 0])
        changes = np.sqrt(ICC) * counts * shape((scenario.patients, cells)) + np.sqrt(1 - ICC) * own
        images = np.broadcast_to(counts, changes.shape)
        config = BootstrapConfig(resamples=options.resamples, seed=time)
        found = resample(mean, np.concatenate([changes, images], axis=1), weights=images, config=config)
        for i, of in enumerate(kinds.values()):
            low, high = of(found)
            held[i, time], widths[i, time] = np.mean((low <= 0) & (high >= 0)), np.median(high - low)
    return list(zip(held.mean(axis=1), widths.mean(axis=1), strict=True))


def table(results: Mapping[Scenario, Mapping[str, Rate]]) -> str:
    """The rates of all scenarios, per cent ± Monte Carlo error."""
    rows = [
        (
            str(one.patients),
            "1" if one.most == 1 else f"1 to {one.most}",
            one.shape + (", no effects" if one.is_null else ""),
            *(str(shares[what]) for what in RATES),
        )
        for one, shares in results.items()
    ]
    nominal = ("", "", "nominal", *RATES.values())
    return tables.markdown(("patients", "images of each", "changes", *RATES), [nominal, *rows])


def main(options: Options) -> None:
    each = -(-options.matrices // len(SCENARIOS))
    results = {one: simulate(one, each, options) for one in tqdm(SCENARIOS, unit="scenario")}
    print(table(results), end="\n\n", flush=True)
    print(intervals(options))


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(lambda: main(tyro.cli(Options, prog="python -m benchmarks.audit_calibration"))))
