"""Interventions to measure counterfactuals under: drawn from what the training data holds (Melistas et al. 2024)."""

from collections.abc import Mapping, Sequence

import numpy as np

from prism_jax.metrics.axioms import in_bins

BINS = 10  # quantile bins of a continuous attribute, which a new value has to leave


def draw(
    factual: Mapping[str, np.ndarray],
    training: Mapping[str, np.ndarray],
    attributes: Sequence[str],
    *,
    rng: np.random.Generator,
    is_different: bool = False,
) -> dict[str, np.ndarray]:
    """New values [n] of `attributes`, each from its own marginal in the training data.

    Args:
      factual: values [n] of the images to intervene on; `training` [m] of the training set.
      is_different: every new value differs from the factual one; of floats, it lies in another tenth of the data.

    Raises:
      ValueError: an attribute that is not known, or no training value that differs.
    """
    unknown = sorted({*attributes} - ({*factual} & {*training}))
    if unknown:
        raise ValueError(f"cannot intervene on {unknown}; known in images and training data: {sorted(factual)}")
    return {name: _drawn(name, factual[name], training[name], rng, is_different) for name in attributes}


def draw_random(
    factual: Mapping[str, np.ndarray],
    training: Mapping[str, np.ndarray],
    *,
    rng: np.random.Generator,
    is_different: bool = False,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Every attribute joins an image's intervention with probability 1/2, drawn again until one does.

    Returns:
      The values of all attributes [n] (factual where not intervened on), and bool [n] where they were.
    """
    names, n = list(factual), len(next(iter(factual.values())))
    joins = rng.random((n, len(names))) < 0.5
    while (empty := ~joins.any(1)).any():
        joins[empty] = rng.random((int(empty.sum()), len(names))) < 0.5
    drawn = draw(factual, training, names, rng=rng, is_different=is_different)
    chosen = {name: joins[:, i] for i, name in enumerate(names)}
    return {name: np.where(chosen[name], drawn[name], factual[name]) for name in names}, chosen


def _drawn(
    name: str, factual: np.ndarray, training: np.ndarray, rng: np.random.Generator, is_different: bool
) -> np.ndarray:
    factual, training = np.asarray(factual), np.asarray(training)
    if not is_different:
        return rng.choice(training, size=len(factual))
    is_continuous = np.issubdtype(training.dtype, np.floating)
    kind = (lambda values: in_bins(values, training, bins=BINS)) if is_continuous else (lambda values: values)
    own, kinds, values = kind(factual), kind(training), np.empty(len(factual), training.dtype)
    for each in np.unique(own):
        others = training[kinds != each]
        if not len(others):
            raise ValueError(f"the training data has no other {name} than that of the images; draw any value instead")
        values[own == each] = rng.choice(others, size=int((own == each).sum()))
    return values
