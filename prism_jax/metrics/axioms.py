"""Axioms of counterfactuals: effectiveness and minimality; composition and reversibility are distances of pixels.

Axioms of Galles and Pearl as measured by Monteiro et al. 2023 (arXiv 2303.01274) and Melistas et al. 2024 (arXiv
2403.20287), for diffusion editors and structural causal models alike.
Images are float32 `[b, h, w, c]` in [-1, 1]; distances of pixels are in grey levels.
"""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import logsumexp

from prism_jax.metrics.classification import auroc
from prism_jax.metrics.neighbours import distance_blocks
from prism_jax.pixels import GREY_LEVELS
from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap

MINIMAL, FACTUAL = 0.8, 0.2  # weights of the two terms of the counterfactual latent divergence


def pixel_distance(images: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Mean absolute difference in grey levels (0 to 255), float64 [b]."""
    difference = np.abs(np.asarray(images, np.float64) - np.asarray(references, np.float64))
    return GREY_LEVELS * difference.mean(axis=tuple(range(1, difference.ndim)))


def effectiveness(
    predicted: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
    *,
    patients: np.ndarray,
    config: BootstrapConfig | None = None,
) -> dict[str, dict[str, Estimate]]:
    """Agreement of attributes predicted on counterfactuals with their expected values, attribute by attribute.

    The intervened attribute measures the effect of the edit, the others their preservation. The kind of
    an attribute follows from its arrays: predictions [n, classes] are probabilities of whole-number targets, boolean
    targets have predictions [n] that are probabilities, and float targets are compared in their own units.

    Returns:
      "error" (mean absolute) of continuous attributes; "accuracy" at 0.5 and "auroc" of binary ones; "accuracy" and
      macro one-against-the-rest "auroc" of classes.

    Raises:
      ValueError: names or lengths that differ.
    """
    if set(predicted) != set(targets):
        raise ValueError(f"predictions of {sorted(predicted)} for targets {sorted(targets)}; give the same attributes")
    agreement = {}
    for name, values in predicted.items():
        wrong = {len(values), len(targets[name])} - {len(patients)}
        if wrong:
            raise ValueError(f"{name} has {sorted(wrong)} rows for {len(patients)} patients; give one row per image")
        columns = (*np.atleast_2d(np.asarray(values, np.float64).T), np.asarray(targets[name]))
        agreement[name] = {
            label: bootstrap(statistic, *columns, subjects=patients, config=config)
            for label, statistic in _agreements(np.ndim(values), np.asarray(targets[name]).dtype).items()
        }
    return agreement


def _agreements(rank: int, kind: np.dtype) -> dict[str, Callable[..., float]]:
    """The statistics of columns: predictions, then the target."""
    if rank == 2:
        return {"accuracy": _classes_right, "auroc": _macro_auroc}
    if np.issubdtype(kind, np.bool_):
        return {"accuracy": lambda p, target: float(np.mean((p >= 0.5) == (target == 1))), "auroc": auroc}
    return {"error": lambda p, target: float(np.mean(np.abs(p - target)))}


def _classes_right(*columns: np.ndarray) -> float:
    *probabilities, target = columns
    return float(np.mean(np.argmax(probabilities, axis=0) == target))


def _macro_auroc(*columns: np.ndarray) -> float:
    """The mean over the classes that occur; NaN where only one does."""
    *probabilities, target = columns
    each = [auroc(p, (target == i).astype(float)) for i, p in enumerate(probabilities)]
    known = [value for value in each if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def minimality(
    images: np.ndarray,
    counterfactuals: np.ndarray,
    reference_set: np.ndarray,
    *,
    factual: np.ndarray,
    target: np.ndarray,
    reference_values: np.ndarray,
    patients: np.ndarray,
    reference_patients: np.ndarray,
) -> np.ndarray:
    """Counterfactual latent divergence, float64 [n]: log(.8 exp P[d(S_cf) <= D] + .2 exp P[d(S_f) >= D]).

    D is the distance of an image from its counterfactual; S_cf and S_f are the distances from the image to the test
    images that have the counterfactual and the factual value. Lower is better: nearer than others with the new value,
    and not farther than those with the old one. NaN where no test image has either value.

    Args:
      images, counterfactuals, reference_set: features [n, d], [n, d], [m, d].
      factual, target, reference_values: the attribute's value as a class: `deciles` of continuous ones. [n], [n], [m].
      patients, reference_patients: test images of an image's own patient do not count. [n], [m].
    """
    moved = np.linalg.norm(np.asarray(images, np.float64) - np.asarray(counterfactuals, np.float64), axis=1)
    divergence = np.empty(len(moved))
    for rows, block in distance_blocks(images, reference_set):
        others = patients[rows, None] != reference_patients[None]
        has_new, has_old = (others & (reference_values[None] == values[rows, None]) for values in (target, factual))
        nearer = _fraction(block <= moved[rows, None], has_new)
        farther = _fraction(block >= moved[rows, None], has_old)
        divergence[rows] = logsumexp([nearer, farther], b=[[MINIMAL], [FACTUAL]], axis=0)
    return divergence


def deciles(values: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Index of the decile of the training values that each value lies in, int64 [n]."""
    edges = np.quantile(np.asarray(training, np.float64), np.linspace(0, 1, 11)[1:-1])
    return np.searchsorted(edges, np.asarray(values, np.float64), side="right")


def _fraction(hits: np.ndarray, among: np.ndarray) -> np.ndarray:
    count = among.sum(1)
    return np.divide((hits & among).sum(1), count, out=np.full(len(hits), np.nan), where=count > 0)
