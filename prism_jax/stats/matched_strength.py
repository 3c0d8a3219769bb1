"""Off-target change at matched on-target change, with interpolated strength.

A stronger edit changes everything more, so edits, methods and models are compared where each has changed its own target
equally: between the two strengths whose mean on-target changes bracket that amount.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from prism_jax.stats.cluster_bootstrap import resample
from prism_jax.stats.cluster_sums import patient_sums
from prism_jax.stats.contrasts import check_strengths, paired_by_image
from prism_jax.stats.effects import EffectConfig, Row
from prism_jax.stats.intervals import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatchedStrength:
    """Strength and off-target change where the target has changed by `target_change`."""

    target_change: float
    strength: Estimate
    off_target: Estimate  # mean change of the other attribute there


def at_matched_strength(
    by_strength: Mapping[float, Row], *, off: int, on: int, target_change: float, config: EffectConfig | None = None
) -> MatchedStrength:
    """The strength at which column `on` changes by `target_change` on average, and the change of column `off` at it.

    `by_strength` are rows of the same images; strength 0 changes nothing and need not be given. Intervals are over
    patients, each resample with its own strength; NaN where more than 5 % of the resamples do not reach the target
    change.

    Raises:
      ValueError: too few strengths, or none of them changes the target that much.
    """
    config = config or EffectConfig()
    strengths = check_strengths(by_strength)
    rows = paired_by_image([by_strength[strength] for strength in strengths])
    changes = np.concatenate([row.changes[:, [place]] for place in (on, off) for row in rows], axis=1)  # [n, 2 s]
    complete = ~np.isnan(changes).any(axis=1)
    if not complete.any():
        raise ValueError("no image has both attributes measured at all strengths; matching needs them on the same ones")
    names = np.unique(rows[0].patients[complete])
    sums = patient_sums(changes[complete], None, rows[0].patients[complete], names)
    reached = np.max(np.sign(target_change) * sums.changes.sum(axis=0)[: len(strengths)] / complete.sum())
    if not reached >= abs(target_change) > 0:
        most = np.sign(target_change) * reached
        raise ValueError(
            f"the target moves by at most {most:.3g}, not {target_change:g}; ask for less or edit more strongly"
        )
    parts = np.concatenate([sums.changes, sums.images[:, :1]], axis=1)
    statistic = lambda sums: _matched(sums, np.array([0.0, *strengths]), target_change)
    resampled = resample(statistic, parts, weights=np.tile(sums.images[:, :1], (1, 2)), config=config.bootstrap)
    strength, change = resampled.estimates(config.level, len(names))
    return MatchedStrength(target_change=target_change, strength=strength, off_target=change)


def _matched(sums: np.ndarray, strengths: np.ndarray, target_change: float) -> np.ndarray:
    """[..., 2] (strength, off-target mean) of sums [..., 2 s + 1] of both columns' changes and the images."""
    means = sums[..., :-1] / sums[..., -1:]
    on, off = (np.concatenate([np.zeros((*half.shape[:-1], 1)), half], -1) for half in np.split(means, 2, axis=-1))
    # A mean that falls back by chance is ignored: the first strength that reaches the target change counts.
    on = np.maximum.accumulate(np.sign(target_change) * on, axis=-1)
    above = np.argmax(on >= abs(target_change), axis=-1)[..., None]
    below = np.maximum(above - 1, 0)
    at = lambda values, place: np.take_along_axis(np.broadcast_to(values, on.shape), place, axis=-1)
    fraction = (abs(target_change) - at(on, below)) / (at(on, above) - at(on, below))
    between = lambda values: at(values, below) + fraction * (at(values, above) - at(values, below))
    result = np.concatenate([between(strengths), between(off)], axis=-1)
    return np.where(on[..., -1:] >= abs(target_change), result, np.nan)
