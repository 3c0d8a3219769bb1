"""GANterfactual training on two devices: resumed runs, skipped batches, and which network each loss trains."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prism_jax import rng, sharding
from prism_jax.training import loop
from prism_jax.training.examples import Data
from prism_jax.training.ganterfactual import data as ganterfactual_data
from prism_jax.training.ganterfactual import run as ganterfactual_run
from prism_jax.training.ganterfactual import validation as ganterfactual_validation
from prism_jax.training.ganterfactual.data import UnpairedBatches
from prism_jax.weights import cyclegan as weights
from prism_jax.weights.files import fingerprint
from tests import tiny_configs
from tests.build_dataset import build
from tests.conftest import compiled_once
from tests.programs.test_train_ganterfactual import ATTRIBUTE, data, drawn_on_the_host, folder, judge, small  # noqa: F401

MESH = sharding.make_mesh(jax.devices()[:2])


EVERYWHERE = sharding.replicated(MESH)


@pytest.fixture(scope="module")
def compiled():
    """The programs that runs of this file share, measuring and training step, are compiled once: [see, step]."""
    places = (ganterfactual_validation, "predict_fn"), (loop, "jitted")
    with pytest.MonkeyPatch.context() as patch, compiled_once(*places) as made:
        patch.setattr(ganterfactual_run, "untrained", drawn_on_the_host)
        yield made


@pytest.fixture(scope="module")
def straight(compiled, folder, data, tmp_path_factory):
    """A run of six steps on two devices, and its last state."""
    run = tmp_path_factory.mktemp("straight")
    return run, jax.device_get(ganterfactual_run.train(small(run, folder), judge(), data, data, MESH))


def test_a_restart_after_three_steps_of_six_changes_nothing(straight, folder, data, tmp_path):
    run, state = straight
    again = shutil.copytree(run, tmp_path / "again")
    shutil.rmtree(again / "checkpoints" / "6")
    resumed = ganterfactual_run.train(small(again, folder), judge(), data, data, MESH)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(resumed), state)
    assert int(state.pools["present"].count) == 3
    assert (again / "validation.json").read_text() == (run / "validation.json").read_text()


def test_a_run_leaves_generators_and_says_which_classifier_was_in_the_loss(straight, folder):
    run, state = straight
    found = weights.load(run / "model")
    assert found.config.attribute == ATTRIBUTE
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(nnx.state(found)), state.generators.params)
    assert weights.classifier_of(run / "model") == fingerprint(folder)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = {"loss", "adversarial", "cycle", "identity", "classifier"}
    assert losses | {f"discriminator{kind}" for kind in ("", "_absent", "_present")} <= lines[0].keys()
    weighed = lines[0]["adversarial"] + 10 * lines[0]["cycle"] + lines[0]["identity"] + lines[0]["classifier"]
    assert lines[0]["loss"] == pytest.approx(weighed, rel=1e-5)
    report = json.loads((run / "validation.json").read_text())
    assert {way: figures["hit_rate"]["count"] for way, figures in report.items()} == {"add": 10, "remove": 5}
    for way in ("add", "remove"):
        assert report[way]["l1"]["value"] == pytest.approx(lines[-1][f"validation_l1_{way}"], rel=1e-5)
        assert (run / "samples" / f"6-{way}.png").is_file()


def test_a_translation_is_a_hit_where_the_classifier_calls_it_the_other_kind(straight, compiled, data):
    state = jax.device_put(straight[1].generators.params, EVERYWHERE)
    sure = lambda shift: jax.device_put(judge().replace(shift=np.full(2, shift, np.float32)), EVERYWHERE)
    for shift, hits in ((100.0, {"add": 1, "remove": 0}), (-100.0, {"add": 0, "remove": 1})):
        found = compiled[0](state, sure(shift), {"image": data.images, "has": data.has})
        assert {way: found["hit"][data.has == has].mean() for way, has in ganterfactual_validation.WAYS.items()} == hits
    apart = np.abs(found["image"] - (data.images / 127.5 - 1))
    np.testing.assert_allclose(found["l1"], apart.mean((1, 2, 3)), rtol=1e-5)


def advanced(compiled, data, state, classifier):
    """The state after a step of the first batch, and its metrics; host arrays."""
    batch = next(UnpairedBatches(data, batch_size=2, seed=0))
    batch = sharding.to_global(batch | {"id": rng.example_ids(batch["id"])}, sharding.batch_sharding(MESH))
    key = jax.device_put(rng.key(0), EVERYWHERE)
    with jax.set_mesh(MESH):  # as the loop does: otherwise it is another program
        placed = (jax.device_put(each, EVERYWHERE) for each in (state, jax.device_get(classifier)))
        return jax.device_get(compiled[1](*placed, batch, key))


def test_what_the_classifier_says_moves_the_generators_alone(straight, compiled, data):
    first, metrics = advanced(compiled, data, straight[1], judge())
    other, others = advanced(compiled, data, straight[1], judge().replace(shift=jnp.full(2, 3.0)))
    assert metrics["classifier"] != others["classifier"]
    assert metrics["adversarial"] == others["adversarial"]
    for name in ("discriminators", "pools"):
        jax.tree.map(np.testing.assert_array_equal, getattr(first, name), getattr(other, name))
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), first.generators.params, other.generators.params)
    assert any(jax.tree.leaves(changed))


def test_a_batch_that_is_left_out_moves_nothing(straight, compiled, data):
    before = straight[1]
    broken = judge().replace(temperature=jnp.full(2, jnp.nan))
    after, metrics = advanced(compiled, data, before, broken)
    assert metrics["skipped"] == 1
    assert int(after.generators.step) == int(after.discriminators.step) == int(before.generators.step) + 1
    after = after.replace(
        generators=after.generators.replace(step=before.generators.step),
        discriminators=after.discriminators.replace(step=before.discriminators.step),
    )
    jax.tree.map(np.testing.assert_array_equal, after, before)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (dict(data=Data(size=32)), "data.size 32 is not the model's 16"),
        (dict(batch_size=3), "batch_size 3 does not divide over 2 devices"),
        (dict(model=tiny_configs.cyclegan(attribute="pacemaker")), "--classifier .*does not know 'pacemaker'"),
        (dict(classifier="nowhere"), "--classifier nowhere: no classifier in nowhere"),
        (dict(model=tiny_configs.cyclegan(channels=3)), "model.channels 3: the data sets here are grey"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_slow(options, complaint, folder):
    with pytest.raises(ValueError, match=complaint):
        ganterfactual_run.check(small("nowhere", folder, **options), MESH)


def test_the_program_trains_on_a_built_data_set(compiled, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        sharding, "make_mesh", lambda **_: MESH
    )  # the devices of the programs that are compiled already
    build("phantom", None, tmp_path / "data", size=32, train=48, val=24, test=1)
    options = dict(data=Data(folder=str(tmp_path / "data"), size=16))
    ganterfactual_run.main(small(tmp_path / "run", folder, **options))
    assert weights.load(tmp_path / "run" / "model").config.attribute == ATTRIBUTE
    assert "with it, of 48" in capsys.readouterr().err
    report = json.loads((tmp_path / "run" / "validation.json").read_text())
    assert sum(figures["hit_rate"]["count"] for figures in report.values()) == 24
    with pytest.raises(ValueError, match="0 with it, of 48; name an attribute of which it has both"):
        ganterfactual_data.load(options["data"], "hernia")
