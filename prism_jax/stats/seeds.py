"""Mean and standard deviation of one number over training seeds."""

from collections.abc import Sequence

import numpy as np

from prism_jax.stats.intervals import Estimate


def mean_over_seeds(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over seeds of the value and of both bounds; `count` is the least.

    The interval stays that of the subjects, which are the same for every seed: it does not shrink with more seeds and
    does not describe the variation between seeds, which is `std_over_seeds`. Seeds without a value are left out.

    Raises:
      ValueError: there are none.
    """
    if not estimates:
        raise ValueError("no estimates to average; give one a seed")
    defined = [estimate for estimate in estimates if not np.isnan(estimate.value)]
    if not defined:
        return estimates[0]
    mean = lambda name: float(np.mean([getattr(estimate, name) for estimate in defined]))
    counts = [estimate.count for estimate in defined]
    return Estimate(value=mean("value"), low=mean("low"), high=mean("high"), count=min(counts))


def std_over_seeds(estimates: Sequence[Estimate]) -> float:
    """The standard deviation over seeds, n - 1 in the denominator; NaN for fewer than two with a value."""
    values = [estimate.value for estimate in estimates if not np.isnan(estimate.value)]
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
