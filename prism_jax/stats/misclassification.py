"""Misclassification correction of changes in prevalence (Rogan & Gladen 1978).

The change of the judged fraction is the true change times (sensitivity + specificity - 1) of the judge, which are
estimated on labelled real images. Assumes that the judge's error rates are the same on edited and on real images.
"""

import dataclasses

import numpy as np
from scipy.linalg import block_diag

from prism_jax.stats.cluster_bootstrap import resample
from prism_jax.stats.cluster_sums import patient_totals
from prism_jax.stats.effects import EffectConfig
from prism_jax.stats.intervals import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorrectedChange:
    """Change of the fraction of images with an attribute, edited minus reconstruction."""

    apparent: Estimate  # as judged
    corrected: Estimate  # the interval includes the error of sensitivity and specificity


def corrected_change(
    *,
    before: np.ndarray,
    after: np.ndarray,
    patients: np.ndarray,
    labels: np.ndarray,
    judged: np.ndarray,
    label_patients: np.ndarray,
    config: EffectConfig | None = None,
) -> CorrectedChange:
    """Corrected change of the prevalence of an attribute.

    Args:
      before, after, patients: whether the judge finds it before and after the edit, bool [n], and each image's patient.
      labels, judged, label_patients: the same for m labelled real images that did not train the judge: whether the
        attribute is there, whether the judge finds it, bool [m], and the patient.

    Raises:
      ValueError: labelled images of fewer than `config.min_patients` patients with or without the attribute, or a judge
        no better than chance. A judge that is hardly better gives wide intervals.
    """
    config = config or EffectConfig()
    for value, name in ((True, "with"), (False, "without")):
        if (count := len(np.unique(label_patients[labels == value]))) < config.min_patients:
            needed = f"{config.min_patients:g} are needed to estimate the judge's errors"
            raise ValueError(f"labelled images {name} the attribute are of {count} patients; {needed}")
    changes = np.stack([after.astype(float) - before, np.ones(len(after))], axis=1)
    labelled = np.stack([labels, labels & judged, ~labels, ~labels & ~judged], axis=1).astype(float)
    cohort, errors = patient_totals(changes, patients), patient_totals(labelled, label_patients)  # [P, 2], [L, 4]
    if (informedness := _informedness(errors.sum(axis=0))) <= 0:
        raise ValueError(
            f"the judge is no better than chance on labelled images: its sensitivity and specificity sum to "
            f"{1 + informedness:.2f}; correct with a better judge"
        )
    strata = np.repeat([0, 1], [len(cohort), len(errors)])
    weights = np.concatenate([cohort[:, 1], errors[:, 0] + errors[:, 2]])[:, None]
    resampled = resample(_changes, block_diag(cohort, errors), weights=weights, strata=strata, config=config.bootstrap)
    apparent, corrected = resampled.estimates(config.level, len(cohort))
    return CorrectedChange(apparent=apparent, corrected=corrected)


def _changes(sums: np.ndarray) -> np.ndarray:
    """[..., 2] Apparent and corrected change, of sums [..., 6]; NaN for a judge that tells nothing."""
    apparent, informedness = sums[..., 0] / sums[..., 1], _informedness(sums[..., 2:])
    usable = np.abs(informedness) > np.finfo(float).eps
    return np.stack([apparent, np.where(usable, apparent / informedness, np.nan)], axis=-1)


def _informedness(errors: np.ndarray) -> np.ndarray:
    """[...] Sensitivity + specificity - 1, of counts [..., 4]: positives, those found, negatives, those not found."""
    return errors[..., 1] / errors[..., 0] + errors[..., 3] / errors[..., 2] - 1
