"""Counterfactual fine-tuning on two devices: resumed runs, skipped batches, and the constraint's multiplier."""

import json
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from prism_jax import config as configs
from prism_jax import rng, sharding
from prism_jax.models.hvae import HVAE
from prism_jax.scm import folder
from prism_jax.scm.attributes import AttributeModel
from prism_jax.training import loop
from prism_jax.training import state as states
from prism_jax.training.image_mechanism import counterfactual_run, counterfactual_step, counterfactual_validation
from prism_jax.training.image_mechanism.counterfactual_run import CounterfactualFinetuneRun
from prism_jax.training.image_mechanism.counterfactual_step import CounterfactualObjective
from prism_jax.training.optimizer import make_optimizer
from prism_jax.weights import hvae, predictors
from tests import tiny_configs
from tests.conftest import compiled_once, untrained
from tests.programs.test_train_counterfactual import FROM, GRAPH, LEAST, MEDIATED, data, judge, models, small  # noqa: F401

MESH = sharding.make_mesh(jax.devices()[:2])


EVERYWHERE = sharding.replicated(MESH)


@pytest.fixture(scope="module")
def compiled():
    """The programs that runs of this file share, measuring and training step, are compiled once: [see, step]."""
    with compiled_once((counterfactual_validation, "predict_fn"), (loop, "jitted")) as made:
        yield made


@pytest.fixture(scope="module")
def straight(compiled, models, data, tmp_path_factory):
    """A run of four steps with the limit that it measures itself, and its last state."""
    run = tmp_path_factory.mktemp("straight")
    config = small(run, models)
    return run, jax.device_get(counterfactual_run.train(config, counterfactual_run.load(config), data, data, MESH))


def logged(run, name):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def test_a_restart_after_two_steps_of_four_changes_nothing(straight, models, data, tmp_path):
    run, state = straight
    again = shutil.copytree(run, tmp_path / "again")
    shutil.rmtree(again / "checkpoints" / "4")
    config = small(again, models)
    resumed = counterfactual_run.train(config, counterfactual_run.load(config), data, data, MESH)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(resumed), state)
    assert logged(again, "validation_auxiliary") == logged(run, "validation_auxiliary")


def test_a_run_leaves_the_model_that_it_trained_and_touches_no_other(straight, models):
    run, state = straight
    about = json.loads((run / "model" / "training.json").read_text())
    best = jax.device_get(states.best_state(run, jax.device_put(state, EVERYWHERE)))
    assert about["step"] == int(best.image.step)
    trained, before = hvae.load(run / "model"), hvae.load(models / "image")
    assert trained.config == before.config
    np.testing.assert_array_equal(trained.head.loc.kernel[...], best.image.ema["head"]["loc"]["kernel"])
    assert (np.asarray(trained.head.loc.kernel[...]) != np.asarray(before.head.loc.kernel[...])).any()
    assert configs.read(run / "model" / "graph") == GRAPH
    assert (run / "samples" / "4.png").is_file()
    assert len(set(logged(run, "validation_auxiliary"))) == 2  # the predictors see what training does


@pytest.mark.parametrize(("asked", "limit"), [({}, 2.5), ({"slack": 0.25}, 2.75), ({"limit": 1.0, "slack": 0.25}, 1.0)])
def test_the_limit_is_the_free_energy_before_training_and_slack_or_what_is_asked(asked, limit):
    config = CounterfactualFinetuneRun(objective=CounterfactualObjective(beta=2.0, **asked))
    see = lambda params, frozen: {"nll": np.array([1.0, 2.0]), "kl": np.array([0.25, 0.75])}
    frozen = counterfactual_step.Judged(mechanisms=None, predictor=None, limit=jax.device_put(0.0, EVERYWHERE))
    assert counterfactual_run.limit_of(config, see, {}, frozen) == limit


def advanced(compiled, models, data, state, limit):
    """The state after a step of the first images with that limit, and its metrics; host arrays."""
    _, _, frozen = counterfactual_run.taken_apart(counterfactual_run.load(small("nowhere", models)), MESH)
    frozen = frozen.replace(limit=jax.device_put(jnp.float32(limit), EVERYWHERE))
    batch = {name: array[:8] for name, array in data.arrays().items()}
    batch = sharding.to_global(batch | {"id": rng.example_ids(batch["id"])}, sharding.batch_sharding(MESH))
    key = jax.device_put(rng.key(0), EVERYWHERE)
    with jax.set_mesh(MESH):  # as the loop does: otherwise it is another program
        return jax.device_get(compiled[1](jax.device_put(state, EVERYWHERE), frozen, batch, key))


def test_the_multiplier_grows_beyond_the_limit_and_stays_at_zero_within(straight, compiled, models, data):
    start = straight[1].replace(multiplier=np.float32(0))
    start = start.replace(ascent=jax.tree.map(np.zeros_like, start.ascent))
    energy = advanced(compiled, models, data, start, 0.0)[1]["free_energy"]
    found = {}
    for excess in (1.0, -1.0):
        state, found[excess] = start, []
        for _ in range(3):
            state, metrics = advanced(compiled, models, data, state, energy - excess)
            assert not metrics["skipped"]
            found[excess].append(float(metrics["multiplier"]))
    assert 0 < found[1.0][0] < found[1.0][1] < found[1.0][2]
    assert found[-1.0] == [0, 0, 0]


def test_a_batch_that_is_left_out_moves_neither_parameters_nor_multiplier(straight, compiled, models, data):
    start = straight[1]
    state, metrics = advanced(compiled, models, data, start, np.nan)
    assert metrics["skipped"] == 1
    state = state.replace(image=state.image.replace(step=start.image.step))
    jax.tree.map(np.testing.assert_array_equal, state, start)


def test_predictors_and_mechanisms_are_what_they_were_after_training(straight, models):
    found, before = (nnx.to_pure_dict(nnx.state(net)) for net in (predictors.load(models / "predictors"), judge()))
    jax.tree.map(np.testing.assert_array_equal, found, before)
    mechanisms = AttributeModel.create(GRAPH, rng.key(0))
    jax.tree.map(np.testing.assert_array_equal, folder.load(models / "mechanisms").params, mechanisms.params)


@pytest.mark.parametrize("targets", ["hard", "soft"])
def test_a_model_without_mediators_trains_too(targets, models, data, tmp_path):
    hvae.save(untrained(HVAE, tiny_configs.hvae(**LEAST)), tmp_path)
    configs.write(GRAPH, tmp_path / "graph")
    config = small("nowhere", models, image=str(tmp_path), objective=CounterfactualObjective(targets=targets))
    networks, params, frozen = counterfactual_run.taken_apart(counterfactual_run.load(config), MESH)
    tx, schedule = make_optimizer(config.optimizer, 10)
    ascent = optax.adamw(config.ascent)
    options = dict(networks=networks, objective=config.objective, shift=0, ascent=ascent)
    step = partial(
        counterfactual_step.train_step,
        **options,
        update=partial(states.update, tx=tx, schedule=schedule, ema_decay=0.999),
    )
    start = jax.eval_shape(partial(counterfactual_step.create, tx=tx, ascent=ascent), params)
    batch = {name: array[:8] for name, array in data.arrays().items()}
    batch["id"] = rng.example_ids(batch["id"])
    after, metrics = jax.eval_shape(step, start, frozen, batch, rng.key(0))  # traced, not compiled
    assert jax.tree.structure(after) == jax.tree.structure(start)
    assert metrics["auxiliary"].shape == ()
