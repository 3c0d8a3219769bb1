"""Training of attribute predictors on two devices: resumed runs, skipped batches, and running moments."""

import json
import shutil

import jax
import numpy as np
import pytest
from flax import nnx
from scipy.ndimage import correlate

from prism_jax import config as configs
from prism_jax import rng, sharding
from prism_jax.models.predictors import MorphoPredictor
from prism_jax.scm.graph import Graph
from prism_jax.training import loop
from prism_jax.training import state as states
from prism_jax.training.predictors import run as predictors_run
from prism_jax.training.predictors import validation as predictors_validation
from prism_jax.weights import predictors as weights
from tests.conftest import compiled_once, untrained
from tests.programs.test_train_predictors import GRAPH, data, drawn, small  # noqa: F401

MESH = sharding.make_mesh(jax.devices()[:2])


EVERYWHERE = sharding.replicated(MESH)


def drawn_on_the_host(config):
    """First parameters and moments without a program for every shape."""
    network = untrained(MorphoPredictor, config.model)
    params, moments = (nnx.to_pure_dict(nnx.state(network, kind)) for kind in (nnx.Param, nnx.BatchStat))
    first = lambda path, leaf: np.full(leaf.shape, path[-1].key == "var", np.float32)
    return jax.device_get({"params": params, "moments": jax.tree_util.tree_map_with_path(first, moments)})


@pytest.fixture(scope="module")
def compiled():
    """The programs that runs of this file share, the training step and the reading, are compiled once: [see, step]."""
    places = (predictors_validation, "predict_fn"), (loop, "jitted")
    with pytest.MonkeyPatch.context() as patch, compiled_once(*places) as made:
        patch.setattr(predictors_run, "untrained", drawn_on_the_host)
        yield made


@pytest.fixture(scope="module")
def straight(compiled, data, tmp_path_factory):
    """A run of four steps on two devices, and its last state."""
    run = tmp_path_factory.mktemp("straight")
    return run, jax.device_get(predictors_run.train(small(run), data, data, MESH))


def test_a_restart_after_two_steps_of_four_changes_nothing(straight, data, tmp_path):
    run, state = straight
    again = shutil.copytree(run, tmp_path / "again")
    shutil.rmtree(again / "checkpoints" / "4")
    (again / "validation.json").unlink()
    resumed = predictors_run.train(small(again), data, data, MESH)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(resumed), state)
    for name in ("validation.json", "model/training.json"):
        assert (again / name).read_text() == (run / name).read_text()


def test_a_run_leaves_a_model_its_graph_and_what_it_reads(straight, compiled, data):
    run, state = straight
    network = weights.load(run / "model")
    assert isinstance(configs.read(run / "model" / "graph"), Graph)
    best = jax.device_get(states.best_state(run, jax.device_put(state, EVERYWHERE)))
    assert json.loads((run / "model" / "training.json").read_text())["step"] == int(best.trained.step)
    kept = nnx.to_pure_dict(nnx.state(network))
    jax.tree.map(np.testing.assert_array_equal, kept, predictors_run.usable(best))
    report = json.loads((run / "validation.json").read_text())
    assert {name: set(figures) - {"nll"} for name, figures in report.items()} == {
        "thickness": {"mean_absolute_error"},
        "intensity": {"mean_absolute_error"},
        "digit": {"accuracy", "auroc"},
    }
    read = compiled[0](jax.device_put(kept, EVERYWHERE), data)["value"]["intensity"]
    error = np.mean(np.abs(read - data.attributes["intensity"]))
    figure = report["intensity"]["mean_absolute_error"]
    assert figure["value"] == pytest.approx(float(error), rel=1e-4)
    assert figure["low"] < figure["value"] < figure["high"]
    assert figure["count"] == 16


def advanced(compiled, data, state, rows, **changed):
    """The state after a step of these rows on two devices, and its metrics; host arrays."""
    batch = {name: array[rows] for name, array in data.arrays().items()} | changed
    batch = sharding.to_global(batch | {"id": rng.example_ids(batch["id"])}, sharding.batch_sharding(MESH))
    key = jax.device_put(rng.key(0), EVERYWHERE)
    with jax.set_mesh(MESH):  # as the loop does: otherwise it is another program
        return jax.device_get(compiled[1](jax.device_put(state, EVERYWHERE), None, batch, key))


def pytorch_moments(state, images):
    """Mean and unbiased variance of what the first convolution of the digit's network gives."""
    kernel = state.trained.params["digit"]["convs"][0]["kernel"][..., 0, 0]
    h = np.stack([correlate(image[..., 0] / 127.5 - 1, kernel, mode="constant") for image in images])
    return h.mean(keepdims=True)[0, 0], h.var(ddof=1, keepdims=True)[0, 0]


def test_running_moments_are_those_of_pytorch_whatever_the_devices(straight, compiled, data):
    state, halves = straight[1], (np.arange(8), np.arange(8, 16))
    before, seen = state.moments["digit"]["norms"][0], []
    for half in halves:
        seen.append(pytorch_moments(state, data.images[half]))
        state, _ = advanced(compiled, data, state, half)
    found = state.moments["digit"]["norms"][0]
    for i, name in enumerate(("mean", "var")):
        expected = 0.81 * before[name] + 0.09 * seen[0][i] + 0.1 * seen[1][i]
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6)
    # Early on the average is a copy, of parameters and moments alike.
    jax.tree.map(np.testing.assert_array_equal, state.averaged, state.moments)


def test_a_batch_that_is_left_out_changes_no_moment(straight, compiled, data):
    before = straight[1]
    after, metrics = advanced(compiled, data, before, np.arange(8), thickness=np.full(8, np.nan, np.float32))
    assert metrics["skipped"] == 1
    assert after.trained.step == before.trained.step + 1
    after = after.replace(trained=after.trained.replace(step=before.trained.step))
    jax.tree.map(np.testing.assert_array_equal, after, before)
