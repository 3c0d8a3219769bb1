"""Training of the image mechanism on eight devices and after a restart."""

import dataclasses
import json

import jax
import numpy as np

from prism_jax import sharding
from prism_jax.training.image_mechanism import run as image_mechanism_run
from prism_jax.training.trained_weights import trained_weights
from tests.programs.test_train_image_mechanism import GRAPH, LEAST, data, small, straight  # noqa: F401


def losses(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_devices_and_a_stop_do_not_change_the_training(straight, data, tmp_path):
    config = small(tmp_path)
    mesh = sharding.make_mesh()
    image_mechanism_run.train(
        dataclasses.replace(config, loop=dataclasses.replace(config.loop, steps=2)), data, data, mesh
    )
    image_mechanism_run.train(config, data, data, mesh)
    np.testing.assert_allclose(losses(tmp_path), losses(straight), rtol=1e-4)
    ours, theirs = (trained_weights(run, None)[1] for run in (tmp_path, straight))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), ours, theirs)
