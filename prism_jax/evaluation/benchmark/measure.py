"""What one seed of a row reached, picture by picture."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from prism_jax.data import targets
from prism_jax.data.captions.phrases import spoken
from prism_jax.data.schema import Attributes
from prism_jax.evaluation.benchmark.generate import KINDS, Kind, Made
from prism_jax.evaluation.benchmark.ground_truth import Mode, Truths
from prism_jax.evaluation.benchmark.judge import Bench, Seen, mean_error
from prism_jax.evaluation.benchmark.queries import Ask, firsts, fitted
from prism_jax.evaluation.edited_cohort import AGE
from prism_jax.metrics import axioms
from prism_jax.pixels import from_uint8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared:
    """What all rows are measured with: n asks of the same pictures, and m real pictures beside them."""

    asks: Sequence[Ask]
    size: int
    bench: Bench
    originals: np.ndarray  # uint8 [n, h, w], of each ask
    seen: Seen  # of those
    bank: Seen  # of m real pictures
    bank_values: np.ndarray  # float32 [m, c]: 1, 0 or years, NaN where it is not known
    bank_patients: np.ndarray  # [m]
    truths: Truths | None
    true_pictures: Mapping[Mode, np.ndarray]  # uint8 [n, h, w] at the common size; empty where nothing is known
    masks: np.ndarray | None  # bool [n, h, w]

    @property
    def columns(self) -> tuple[str, ...]:
        return self.bench.columns

    @property
    def patients(self) -> np.ndarray:
        return np.array([ask.subject.patient for ask in self.asks])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """The n counterfactuals of one seed of a row."""

    values: Mapping[str, np.ndarray]  # float64 [n] by measure
    seen: Mapping[Kind, Seen]  # of the pictures of nothing changed, of each ask, and of the counterfactuals
    targets: np.ndarray  # float64 [n, c]: what the counterfactuals are to show
    changed: np.ndarray  # bool [n, c]: what the edit sets
    effects: np.ndarray  # float64 [n, c]: judges on the counterfactual less on the same with nothing changed
    true_effects: np.ndarray | None  # float64 [n, c], of the row's mode; NaN where the generator has no such attribute
    made: Made


def measure(made: Made, mode: Mode, shared: Shared) -> Measured:
    """Reads the pictures of a row at the common size, and measures them."""
    asks = shared.asks
    read = lambda kind: np.stack([fitted(picture, shared.size) for picture in made.pictures(kind, asks)])
    pictures = {kind: read(kind) for kind in KINDS}
    seen = {kind: shared.bench.look(pictures[kind]) for kind in ("null", "edited")}
    factual = values_of([ask.stated for ask in asks], shared.columns)
    surgical = values_of([ask.wanted for ask in asks], shared.columns)
    changed = (factual != surgical) & ~np.isnan(surgical)
    effects = seen["edited"].mean - seen["null"].mean
    true = None if shared.truths is None else true_effects(shared.truths, mode, shared.columns)
    values = shared.bench.compare(pictures["edited"], shared.originals) | cycles(pictures, shared.originals, asks)
    values |= {"minimality": minimality(seen["edited"], factual, surgical, changed, shared)}
    values |= effect_sizes(effects, surgical, changed, true, shared.columns)
    if shared.truths is not None:
        truth, mask = shared.true_pictures[mode], shared.masks
        regions = {"error": None, "error_inside": mask, "error_outside": ~mask}
        values |= {name: mean_error(pictures["edited"], truth, where) for name, where in regions.items()}
    wanted = values_of([made.shown[ask.key] for ask in asks], shared.columns)
    common = dict(targets=wanted, changed=changed, effects=effects, true_effects=true)
    return Measured(values=values, seen=seen, made=made, **common)


def cycles(pictures: Mapping[Kind, np.ndarray], originals: np.ndarray, asks: Sequence[Ask]) -> dict[str, np.ndarray]:
    """`composition` and `reversibility` of one round, grey levels [n]; a subject's composition is told once."""
    images = _images(originals)
    kept = {kind: lambda _, kind=kind: _images(pictures[kind]) for kind in KINDS}
    composition = axioms.composition(kept["null"], images, cycles=(1,))[1]["pixels"]
    is_first = np.isin(np.arange(len(asks)), firsts(asks))
    return {
        "composition": np.where(is_first, composition, np.nan),
        "reversibility": axioms.reversibility(kept["edited"], kept["back"], images, cycles=(1,))[1]["pixels"],
    }


def _images(pictures: np.ndarray) -> np.ndarray:
    """float32 [n, h, w, 1] in [-1, 1]."""
    return from_uint8(pictures)[..., None]


def values_of(attributes: Sequence[Attributes], columns: Sequence[str]) -> np.ndarray:
    """float64 [n, c] of the judges' columns: 1, 0 or years; NaN where it is not known."""
    named = [column for column in columns if column != AGE]
    states = dict(zip(named, targets.values(attributes, named).T, strict=True)) | {AGE: targets.ages(attributes)}
    return np.stack([states[column] for column in columns], axis=1).astype(np.float64)


def true_effects(truths: Truths, mode: Mode, columns: Sequence[str]) -> np.ndarray:
    """What the generator says that changes, float64 [n, c]."""
    effects = {spoken(name): values for name, values in truths.effects[mode].items()}
    unknown = np.full(len(truths.masks), np.nan)
    return np.stack([effects.get(spoken(column), unknown) for column in columns], axis=1)


def effect_sizes(
    effects: np.ndarray, wanted: np.ndarray, changed: np.ndarray, true: np.ndarray | None, columns: Sequence[str]
) -> dict[str, np.ndarray]:
    """Of yes-or-no attributes, in probability: `on_target`, towards what is wanted; `off_target`, the mean size of the
    effect on all others; and `effect_error`, the mean distance of all effects from the generator's. float64 [n]."""
    is_binary = np.array([column != AGE for column in columns])[None]
    toward = np.where(wanted == 1, effects, -effects)
    found = {
        "on_target": _mean_over(toward, changed & is_binary),
        "off_target": _mean_over(np.abs(effects), ~changed & is_binary),
    }
    if true is not None:
        found["effect_error"] = _mean_over(np.abs(effects - true), is_binary & ~np.isnan(true))
    return found


def _mean_over(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    count = where.sum(1)
    total = np.where(where, values, 0.0).sum(1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def minimality(
    edited: Seen, factual: np.ndarray, wanted: np.ndarray, changed: np.ndarray, shared: Shared
) -> np.ndarray:
    """Counterfactual latent divergence [n] of edits that set one attribute; NaN for others. Ages count by tenths."""
    found = np.full(len(changed), np.nan)
    for k, column in enumerate(shared.columns):
        rows = changed[:, k] & (changed.sum(1) == 1)
        known = ~np.isnan(shared.bank_values[:, k])
        if not rows.any() or not known.any():
            continue
        bank = shared.bank_values[known, k]
        kind = (lambda x, bank=bank: axioms.in_bins(x, bank)) if column == AGE else (lambda x: x)
        found[rows] = axioms.minimality(
            shared.seen.features[rows],
            edited.features[rows],
            shared.bank.features[known],
            factual=kind(factual[rows, k]),
            wanted=kind(wanted[rows, k]),
            bank_values=kind(bank),
            patients=shared.patients[rows],
            bank_patients=shared.bank_patients[known],
        )
    return found
