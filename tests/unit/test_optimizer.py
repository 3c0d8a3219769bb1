"""The learning rate rises to its peak and falls as configured, in short runs too."""

import numpy as np
import pytest

from prism_jax.training.optimizer import OptimizerConfig, learning_rate


@pytest.mark.parametrize("decay", ["constant", "cosine", "linear"])
def test_a_run_shorter_than_its_warm_up_has_the_rates_that_a_longer_one_begins_with(decay):
    config = OptimizerConfig(peak=1.0, warmup=10, decay=decay)
    short, long = (learning_rate(config, steps) for steps in (4, 100))
    assert np.allclose([short(step) for step in range(4)], [long(step) for step in range(4)])
    assert np.allclose([short(step) for step in range(4)], [0.1, 0.2, 0.3, 0.4])


def test_a_negative_warm_up_is_refused():
    with pytest.raises(ValueError, match="must be 0 or more steps, got -1"):
        learning_rate(OptimizerConfig(warmup=-1), 10)
