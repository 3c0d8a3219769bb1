"""Training of a classifier on eight devices and after a restart."""

from functools import partial

import jax
import numpy as np

from prism_jax import sharding
from prism_jax.training.classifier.run import train
from tests.programs.test_train_classifier import COUNT, STILL, config, folder, lines, one_device, trained  # noqa: F401


def test_a_restart_and_eight_devices_change_nothing(folder, trained, tmp_path):
    run, whole = trained
    train(config(folder, tmp_path, steps=2), sharding.make_mesh())
    found = train(config(folder, tmp_path), sharding.make_mesh())
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), whole.network, found.network)
    np.testing.assert_allclose(lines(tmp_path, "loss"), lines(run, "loss"), rtol=1e-4)
