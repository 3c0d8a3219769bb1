"""True log-likelihoods of the phantom's attributes, to compare fitted mechanisms with. NumPy, float64."""

from collections.abc import Mapping

import numpy as np
from scipy import special, stats

from prism_jax.data.phantom.equations import AGE_RANGE, BINARY, CAUSES, Equations

Columns = Mapping[str, np.ndarray]


def log_prob(attributes: Columns, equations: Equations) -> dict[str, np.ndarray]:
    """log p(attribute | parents) [n], given all attributes [n] (age in years).

    The density of age is in the unit in which its range is [-1, 1].
    """
    value, log_prob = {name: np.asarray(column, np.float64) for name, column in attributes.items()}, {}
    value["age"] = (value["age"] - 60) / 15
    for name in BINARY:
        slopes = (getattr(equations, f"{name}_{cause}") * value[cause] for cause in CAUSES.get(name, ()))
        p = special.expit(sum(slopes, start=np.full_like(value["age"], getattr(equations, name))))
        log_prob[name] = np.where(value[name] == 1, np.log(p), np.log1p(-p))
    low, high = AGE_RANGE
    unit = (np.asarray(attributes["age"], np.float64) - low) / (high - low)
    noise = (special.logit(unit) - equations.age) / equations.age_spread
    slope = 2 * unit * (1 - unit) * equations.age_spread
    return log_prob | {"age": stats.norm.logpdf(noise) - np.log(slope)}
