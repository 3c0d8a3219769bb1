"""GANterfactual training: laws of its losses and pools, who is moved by what, and a run that was stopped."""

import json
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prism_jax import rng
from prism_jax.classifier import Classifier
from prism_jax.models.convnext import ConvNeXt, ConvNeXtConfig
from prism_jax.training import state as states
from prism_jax.training.examples import Data
from prism_jax.training.ganterfactual import (
    run as ganterfactual_run,
)
from prism_jax.training.ganterfactual import (
    step as ganterfactual_step,
)
from prism_jax.training.ganterfactual.data import Sides, UnpairedBatches
from prism_jax.training.ganterfactual.image_pool import Pool, exchanged
from prism_jax.training.ganterfactual.run import GANterfactualRun
from prism_jax.training.ganterfactual.step import GANterfactualObjective
from prism_jax.training.ganterfactual.validation import GANterfactualValidation
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig, make_optimizer
from prism_jax.weights import pretrained
from tests import tiny_configs
from tests.conftest import untrained

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
            model=tiny_configs.cyclegan(attribute=ATTRIBUTE),
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


def test_a_step_keeps_the_shapes_of_the_state(folder, data):
    config = small("nowhere", folder)
    tx, schedule = make_optimizer(config.optimizer, 6)
    graphs = {k: nnx.split(pretrained.abstract(v, config.model))[0] for k, v in ganterfactual_run.NETWORKS.items()}
    start = partial(ganterfactual_step.create, config=config.model, pool=3, tx=tx)
    before = jax.eval_shape(start, drawn_on_the_host(config))
    step = partial(
        ganterfactual_step.train_step,
        networks=graphs,
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
    pool, swapped = Pool(images=jnp.zeros((size, 1, 1, 1)), count=jnp.int32(0)), 0
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
