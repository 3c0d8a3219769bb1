"""Calibration of a classifier's logits on held-out images (Platt 1999; Guo et al. 2017)."""

import sys
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_expit

LIMIT = 3.0  # of the temperature's logarithm


def calibrated(
    logits: np.ndarray, labels: np.ndarray, targets: Sequence[str], positive_weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Temperature and shift, float32 [n] each, of the calibrated `logit / temperature + shift`.

    A target without examples of both classes is not fitted, and is named on stderr: only the logarithm of the positive
    weight is subtracted from its logits.

    Args:
      logits: float [m, n].
      labels: float [m, n], 1, 0 or NaN where not known.
      positive_weights: float [n], of the training loss.
    """
    temperature, shift = np.ones(len(targets), np.float32), -np.log(positive_weights).astype(np.float32)
    for i, target in enumerate(targets):
        known = ~np.isnan(labels[:, i])
        if len(np.unique(labels[known, i])) == 2:
            temperature[i], shift[i] = platt(logits[known, i], labels[known, i])
        else:
            print(f"{target} is not calibrated: the split has not both classes of it", file=sys.stderr)
    return temperature, shift


def platt(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The temperature and shift of the highest likelihood of 0/1 `labels` [m], float64.

    Labels are drawn in from 0 and 1 as Platt does (1999, eq. 5): with plain labels the temperature of separable classes
    would fall to 0. It is at most e^3, nearly flat, which is reached if the logits carry no information.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    positives = labels.sum()
    negatives = len(labels) - positives
    wanted = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(found: np.ndarray) -> float:
        z = np.exp(found[0]) * logits + found[1]
        return -float(np.mean(wanted * log_expit(z) + (1 - wanted) * log_expit(-z)))

    best = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-LIMIT, LIMIT), (None, None)]).x
    return float(np.exp(-best[0])), float(best[1])
