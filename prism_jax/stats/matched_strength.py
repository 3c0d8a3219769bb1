"""Edits at equal strength: what else has changed once the target has changed by a given amount.

A stronger edit moves everything more. Edits, methods and models are compared fairly where each has moved its own
target equally far: between the two strengths whose mean on-target changes lie around the wanted one.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from prism_jax.stats.cluster_bootstrap import resample
from prism_jax.stats.cluster_sums import patient_sums
from prism_jax.stats.contrasts import check_strengths, paired
from prism_jax.stats.effects import EffectConfig, Row
from prism_jax.stats.intervals import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Matched:
    """Where the target has changed by `wanted`."""

    wanted: float
    strength: Estimate
    off_target: Estimate  # mean change of the other attribute there


def at_matched_strength(
    doses: Mapping[float, Row], *, off: int, on: int, wanted: float, config: EffectConfig | None = None
) -> Matched:
    """The strength at which column `on` changes by `wanted` on average, and the change of column `off` at it.

    `doses` are rows of the same images by strength; strength 0 changes nothing and need not be given. Intervals are
    over patients, each resample with its own strength; NaN where more than one in twenty does not get so far.

    Raises:
      ValueError: too few strengths, or none of them moves the target so far.
    """
    config = config or EffectConfig()
    strengths = check_strengths(doses)
    rows = paired([doses[strength] for strength in strengths])
    changes = np.concatenate([row.changes[:, [place]] for place in (on, off) for row in rows], axis=1)  # [n, 2 s]
    known = ~np.isnan(changes).any(axis=1)
    if not known.any():
        raise ValueError("no image has both attributes measured at all strengths; matching needs them on the same ones")
    names = np.unique(rows[0].patients[known])
    sums = patient_sums(changes[known], None, rows[0].patients[known], names)
    reached = np.max(np.sign(wanted) * sums.changes.sum(axis=0)[: len(strengths)] / known.sum())
    if not reached >= abs(wanted) > 0:
        most = np.sign(wanted) * reached
        raise ValueError(f"the target moves by at most {most:.3g}, not {wanted:g}; ask for less or edit more strongly")
    parts = np.concatenate([sums.changes, sums.images[:, :1]], axis=1)
    statistic = lambda sums: _matched(sums, np.array([0.0, *strengths]), wanted)
    found = resample(statistic, parts, weights=np.tile(sums.images[:, :1], (1, 2)), config=config.bootstrap)
    strength, change = found.estimates(config.level, len(names))
    return Matched(wanted=wanted, strength=strength, off_target=change)


def _matched(sums: np.ndarray, strengths: np.ndarray, wanted: float) -> np.ndarray:
    """[..., 2] (strength, off-target mean) of sums [..., 2 s + 1] of both columns' changes and the images."""
    means = sums[..., :-1] / sums[..., -1:]
    on, off = (np.concatenate([np.zeros((*half.shape[:-1], 1)), half], -1) for half in np.split(means, 2, axis=-1))
    # A mean that falls back by chance is passed over: the first strength that gets so far counts.
    on = np.maximum.accumulate(np.sign(wanted) * on, axis=-1)
    above = np.argmax(on >= abs(wanted), axis=-1)[..., None]
    below = np.maximum(above - 1, 0)
    at = lambda values, place: np.take_along_axis(np.broadcast_to(values, on.shape), place, axis=-1)
    share = (abs(wanted) - at(on, below)) / (at(on, above) - at(on, below))
    between = lambda values: at(values, below) + share * (at(values, above) - at(values, below))
    found = np.concatenate([between(strengths), between(off)], axis=-1)
    return np.where(on[..., -1:] >= abs(wanted), found, np.nan)
