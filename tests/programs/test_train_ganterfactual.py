"""GANterfactual training: laws of its losses and pools, who is moved by what, and a run that was stopped."""

import json
import shutil
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prism_jax import rng, sharding
from prism_jax.classifier import Classifier
from prism_jax.data.sources.build import build
from prism_jax.models.convnext import ConvNeXt, ConvNeXtConfig
from prism_jax.models.cyclegan import CycleGANConfig
from prism_jax.training import loop
from prism_jax.training import state as states
from prism_jax.training.examples import Data
from prism_jax.training.ganterfactual import (
    run as ganterfactual_run,
)
from prism_jax.training.ganterfactual import (
    step as ganterfactual_step,
)
from prism_jax.training.ganterfactual import (
    validation as ganterfactual_validation,
)
from prism_jax.training.ganterfactual.data import Sides, UnpairedBatches
from prism_jax.training.ganterfactual.image_pool import Pool, exchanged
from prism_jax.training.ganterfactual.run import GANterfactualRun
from prism_jax.training.ganterfactual.step import GANterfactualObjective
from prism_jax.training.ganterfactual.validation import GANterfactualValidation
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig, make_optimizer
from prism_jax.weights import cyclegan as weights
from prism_jax.weights import pretrained
from prism_jax.weights.files import fingerprint
from tests.conftest import compiled_once, untrained

MESH = sharding.make_mesh(jax.devices()[:2])
EVERYWHERE = sharding.replicated(MESH)
ATTRIBUTE = "cardiomegaly"


def judge():
    config = ConvNeXtConfig(depths=(1,), dims=(4,), kernel_size=3, layer_scale=0.1, num_classes=2)
    return Classifier.of(untrained(ConvNeXt, config), targets=("effusion", ATTRIBUTE), size=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of the classifier."""
    made = tmp_path_factory.mktemp("classifier")
    judge().save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def data():
    """Noise; a third has the attribute."""
    draw, n = np.random.default_rng(0), 15
    return Sides(
        images=draw.integers(0, 256, (n, 16, 16, 1), np.uint8),
        has=np.arange(n) % 3 == 0,
        ids=100 + np.arange(n),
        patients=np.arange(n).astype(str),
    )


def small(run, folder, **options):
    return GANterfactualRun(
        **dict(
            run=str(run),
            classifier=str(folder),
            data=Data(size=16),
            model=CycleGANConfig.tiny(attribute=ATTRIBUTE),
            objective=GANterfactualObjective(pool=3),
            optimizer=OptimizerConfig(peak=1e-3, warmup=0, decay="constant", b1=0.5, clip=float("inf")),
            batch_size=2,
            loop=LoopConfig(steps=6, log_every=1, checkpoint_every=3, keep=2, tensorboard=False),
            validation=GANterfactualValidation(every=3, shown=2),
        )
        | options
    )


def drawn_on_the_host(config):
    """First parameters without a program for every shape."""
    made = {name: untrained(network, config.model) for name, network in ganterfactual_run.NETWORKS.items()}
    return jax.device_get({name: nnx.to_pure_dict(nnx.state(network)) for name, network in made.items()})


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


@pytest.mark.nightly
def test_a_restart_after_three_steps_of_six_changes_nothing(straight, folder, data, tmp_path):
    run, state = straight
    again = shutil.copytree(run, tmp_path / "again")
    shutil.rmtree(again / "checkpoints" / "6")
    resumed = ganterfactual_run.train(small(again, folder), judge(), data, data, MESH)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(resumed), state)
    assert int(state.pools["present"].count) == 3
    assert (again / "validation.json").read_text() == (run / "validation.json").read_text()


@pytest.mark.nightly
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
    assert {way: figures["share"]["count"] for way, figures in report.items()} == {"add": 10, "remove": 5}
    for way in ("add", "remove"):
        assert report[way]["l1"]["value"] == pytest.approx(lines[-1][f"validation_l1_{way}"], rel=1e-5)
        assert (run / "samples" / f"6-{way}.png").is_file()


@pytest.mark.nightly
def test_a_translation_is_a_hit_where_the_classifier_calls_it_the_other_kind(straight, compiled, data):
    state = jax.device_put(straight[1].generators.params, EVERYWHERE)
    sure = lambda shift: jax.device_put(judge().replace(shift=np.full(2, shift, np.float32)), EVERYWHERE)
    for shift, hits in ((100.0, {"add": 1, "remove": 0}), (-100.0, {"add": 0, "remove": 1})):
        found = compiled[0](state, sure(shift), data)
        assert {way: each["hit"].mean() for way, each in found.items()} == hits
    for way, has in ganterfactual_validation.WAYS.items():
        apart = np.abs(found[way]["image"] - (data.images[data.has == has] / 127.5 - 1))
        np.testing.assert_allclose(found[way]["l1"], apart.mean((1, 2, 3)), rtol=1e-5)


def advanced(compiled, data, state, classifier):
    """The state after a step of the first batch, and its metrics; host arrays."""
    batch = next(UnpairedBatches(data, batch_size=2, seed=0))
    batch = sharding.to_global(batch | {"id": rng.example_ids(batch["id"])}, sharding.batch_sharding(MESH))
    key = jax.device_put(rng.key(0), EVERYWHERE)
    with jax.set_mesh(MESH):  # as the loop does: otherwise it is another program
        placed = (jax.device_put(each, EVERYWHERE) for each in (state, jax.device_get(classifier)))
        return jax.device_get(compiled[1](*placed, batch, key))


@pytest.mark.nightly
def test_what_the_classifier_says_moves_the_generators_alone(straight, compiled, data):
    first, metrics = advanced(compiled, data, straight[1], judge())
    other, others = advanced(compiled, data, straight[1], judge().replace(shift=jnp.full(2, 3.0)))
    assert metrics["classifier"] != others["classifier"]
    assert metrics["adversarial"] == others["adversarial"]
    for name in ("discriminators", "pools"):
        jax.tree.map(np.testing.assert_array_equal, getattr(first, name), getattr(other, name))
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), first.generators.params, other.generators.params)
    assert any(jax.tree.leaves(changed))


@pytest.mark.nightly
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


def test_a_step_keeps_the_shapes_of_the_state(folder, data):
    config = small("nowhere", folder)
    tx, schedule = make_optimizer(config.optimizer, 6)
    graphs = {k: nnx.split(pretrained.abstract(v, config.model))[0] for k, v in ganterfactual_run.NETWORKS.items()}
    start = partial(ganterfactual_step.create, config=config.model, pool=3, tx=tx)
    before = jax.eval_shape(start, drawn_on_the_host(config))
    step = partial(
        ganterfactual_step.train_step,
        networks=ganterfactual_step.Networks(**graphs),
        attribute=ATTRIBUTE,
        objective=config.objective,
        update=partial(states.update, tx=tx, schedule=schedule, ema_decay=None),
    )
    batch = next(UnpairedBatches(data, batch_size=2, seed=0))
    batch["id"] = rng.example_ids(batch["id"])
    after, metrics = jax.eval_shape(step, before, judge(), batch, rng.key(0))  # traced, not compiled
    shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert shapes(after) == shapes(before)
    assert before.pools["absent"].images.shape == (3, 16, 16, 1)
    assert metrics["skipped"].shape == ()


def fixed(value):
    """A discriminator that gives every place this number."""
    return lambda images: jnp.full((len(images), 2, 2, 1), value)


def test_losses_of_generators_that_change_nothing_are_known():
    same = SimpleNamespace(add=lambda x: x, remove=lambda x: x)
    undecided = SimpleNamespace(present=fixed(0.5), absent=fixed(0.5))
    draw = np.random.default_rng(0)
    real = {kind: jnp.asarray(draw.uniform(-1, 1, (2, 16, 16, 1)), jnp.float32) for kind in ("absent", "present")}
    classifier = judge()
    head = classifier.network.classifier
    head.kernel[...], head.bias[...] = jnp.zeros_like(head.kernel[...]), jnp.array([7.0, 2.0])  # the attribute: 2
    objective = GANterfactualObjective(classifier=2.0)
    of = jax.jit(
        lambda real: ganterfactual_step.generator_loss(
            same, undecided, classifier, real, attribute=ATTRIBUTE, objective=objective
        )
    )
    loss, (parts, made) = of(real)
    assert parts["cycle"] == parts["identity"] == 0
    assert parts["adversarial"] == 0.5
    both = np.log1p(np.exp(-2.0)) + np.log1p(np.exp(2.0))  # of what should have it, and of what should not
    assert float(parts["classifier"]) == pytest.approx(both, rel=1e-5)
    assert float(loss) == pytest.approx(0.5 + 2 * both, rel=1e-5)
    np.testing.assert_array_equal(made["present"], real["absent"])
    sure = SimpleNamespace(present=fixed(1.0), absent=fixed(0.0))
    told, each = ganterfactual_step.discriminator_loss(sure, real, made)
    assert (float(told), float(each["discriminator_present"])) == (1.0, 0.5)


def test_the_cycle_loss_is_the_distance_after_both_generators():
    lighter = SimpleNamespace(add=lambda x: x + 0.25, remove=lambda x: x - 0.125)
    real = {"absent": jnp.zeros((1, 4, 4, 1)), "present": jnp.zeros((1, 4, 4, 1))}
    made = {"present": lighter.add(real["absent"]), "absent": lighter.remove(real["present"])}
    assert float(ganterfactual_step.cycle_loss(lighter, real, made)) == 0.25


def test_a_pool_gives_back_new_images_or_kept_ones_and_loses_none():
    size, b, rounds = GANterfactualObjective().pool, 8, 40
    assert size == 50
    step = jax.jit(exchanged)
    pool, swapped = Pool.empty(size, (1, 1, 1)), 0
    for i in range(rounds):
        images = 1.0 + i * b + np.arange(b, dtype=np.float32)
        keys = rng.per_example(rng.at_step(rng.key(0), i), jnp.arange(b, dtype=jnp.uint32))
        before, filled = np.asarray(pool.images).ravel(), int(pool.count)
        shown, pool = step(pool, jnp.asarray(images)[:, None, None, None], keys)
        shown, after = np.asarray(shown).ravel(), np.asarray(pool.images).ravel()
        assert int(pool.count) == min(size, (i + 1) * b)
        assert set(shown) <= set(images) | set(before[:filled])
        filling = images[: max(0, size - filled)]
        np.testing.assert_array_equal(shown[: len(filling)], filling)
        # From then on nothing is there twice, and nothing is gone.
        came, went = (*before[:filled], *filling, *images), (*after[: int(pool.count)], *shown)
        assert sorted(came) == sorted(went)
        swapped += int(np.sum(shown != images))
    late = rounds * b - size
    assert abs(swapped / late - 0.5) < 3 * 0.5 / np.sqrt(late)


def test_batches_hold_as_many_of_one_kind_as_of_the_other_and_go_on_where_they_were(data):
    batches = UnpairedBatches(data, batch_size=2, seed=3)
    position, seen = batches.get_state(), {"absent": [], "present": []}
    for _ in range(5):
        batch = next(batches)
        for side, kind in enumerate(seen):
            rows = batch["id"][:, side] - 100
            np.testing.assert_array_equal(batch[kind], data.images[rows])
            assert (data.has[rows] == (kind == "present")).all()
            seen[kind].extend(rows)
    assert sorted(seen["absent"]) == sorted(np.flatnonzero(~data.has))  # an epoch of the commoner kind
    last = next(batches)
    batches.set_state(json.loads(json.dumps(position)))
    again = next(batches)["id"] - 100
    np.testing.assert_array_equal(again[:, 1], seen["present"][:2])
    for _ in range(4):
        next(batches)
    np.testing.assert_array_equal(next(batches)["present"], last["present"])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (dict(data=Data(size=32)), "data.size 32 is not the model's 16"),
        (dict(batch_size=3), "batch_size 3 does not divide over 2 devices"),
        (dict(model=CycleGANConfig.tiny(attribute="pacemaker")), "--classifier .*does not know 'pacemaker'"),
        (dict(classifier="nowhere"), "--classifier nowhere: no classifier in nowhere"),
        (dict(model=CycleGANConfig.tiny(channels=3)), "model.channels 3: the data sets here are grey"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_slow(options, complaint, folder):
    with pytest.raises(ValueError, match=complaint):
        ganterfactual_run.check(small("nowhere", folder, **options), MESH)


@pytest.mark.nightly
def test_the_program_trains_on_a_built_data_set(compiled, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sharding, "make_mesh", lambda: MESH)  # the devices of the programs that are compiled already
    build("phantom", None, tmp_path / "data", size=32, train=48, val=24, test=1)
    options = dict(data=Data(folder=str(tmp_path / "data"), size=16))
    ganterfactual_run.main(small(tmp_path / "run", folder, **options))
    assert weights.load(tmp_path / "run" / "model").config.attribute == ATTRIBUTE
    assert "with it, of 48" in capsys.readouterr().err
    report = json.loads((tmp_path / "run" / "validation.json").read_text())
    assert sum(figures["share"]["count"] for figures in report.values()) == 24
    with pytest.raises(ValueError, match="0 with it, of 48; name an attribute of which it has both"):
        ganterfactual_run.ganterfactual_images.load(options["data"], "hernia")
