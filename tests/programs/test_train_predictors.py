"""Predictors train after a stop as in one go, with batch norms as PyTorch has them; folders read alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from prism_jax import config as configs
from prism_jax import rng, sharding
from prism_jax.models.predictors import ChestConfig, ChestPredictor, MorphoConfig
from prism_jax.pixels import from_uint8
from prism_jax.scm import graphs, observed, predictions
from prism_jax.scm.observed import Digits
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig
from prism_jax.training.predictors import run as predictors_run
from prism_jax.training.predictors import validation as predictors_validation
from prism_jax.training.predictors.run import PredictorsRun
from prism_jax.training.predictors.validation import PredictorsValidation
from prism_jax.weights import predictors as weights
from tests.conftest import config_name, shipped_configs, untrained

GRAPH = graphs.morphomnist()
PHANTOM = graphs.phantom()
TINY = ChestConfig.phantom(widths=(4,))


def small(run, **options):
    return PredictorsRun(
        **dict(
            run=str(run),
            graph=GRAPH,
            data=Digits(size=8),
            model=MorphoConfig(size=8, width=1),
            optimizer=OptimizerConfig(peak=1e-2, warmup=0, decay="constant", clip=200.0, weight_decay=0.1),
            batch_size=8,
            loop=LoopConfig(steps=4, log_every=1, checkpoint_every=2, keep=2, tensorboard=False),
            validation=PredictorsValidation(every=2, intervals=BootstrapConfig(resamples=20)),
        )
        | options
    )


def drawn(graph, n=16):
    """Images of noise of which everything is known."""
    draw = np.random.default_rng(0)
    columns = {}
    for node in graph.nodes:
        kind = node.values
        low, high = (0, kind.classes) if kind.classes else (kind.low, kind.high)
        columns[node.name] = draw.integers(low, high, n).astype(np.int32 if kind.classes else np.float32)
    columns |= {name: np.clip(columns[name], 1, None) for name in columns if name == "thickness"}
    return observed.of_columns(draw.integers(0, 256, (n, 8, 8, 1), np.uint8), columns, np.arange(n), graph)


@pytest.fixture(scope="module")
def data():
    return drawn(GRAPH)


@pytest.fixture(scope="module")
def chest():
    return untrained(ChestPredictor, TINY)


def test_units_drop_out_by_example_whatever_the_batch(chest):
    data = drawn(PHANTOM, 4)
    x, keys = from_uint8(data.images), rng.per_example(rng.key(0), np.arange(4, dtype=np.uint32))
    read = jax.jit(lambda x, keys, told: predictions.read(chest, PHANTOM, x, told, keys=keys)["effusion"])
    told = {name: jnp.asarray(column) for name, column in data.attributes.items()}
    order = np.array([2, 0, 3, 1])
    moved = read(x[order], keys[order], {name: column[order] for name, column in told.items()})
    np.testing.assert_allclose(moved, read(x, keys, told)[order], rtol=1e-5)
    assert not np.allclose(read(x, keys, told), read(x, keys[order], told))


def test_a_chest_predictor_has_no_moments_and_comes_back_from_its_folder(chest, tmp_path):
    assert predictors_run._moments(chest) is None
    weights.save(chest, tmp_path)
    ours, theirs = nnx.to_pure_dict(nnx.state(weights.load(tmp_path))), nnx.to_pure_dict(nnx.state(chest))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    names = load_file(tmp_path / "model.safetensors")
    assert names["trunk.4.1.conv2.weight"].shape == (4, 4, 3, 3)
    assert names["head.age.weight"].shape == (2, 4)


def test_areas_of_several_classes_are_means_over_those_that_are_there():
    true = np.array([0, 0, 1, 1])
    sure = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.1, 0.9, 0.0], [0.6, 0.4, 0.0]])
    assert predictors_validation._mean_auroc(true, *sure.T) == 1.0
    assert predictors_validation._mean_auroc(true, *sure[:, [1, 0, 2]].T) == 0.0


def test_a_folder_of_something_else_is_one_clear_error(tmp_path):
    configs.write(GRAPH, tmp_path)
    with pytest.raises(ValueError, match="holds a Graph; give the folder of trained predictors"):
        weights.load(tmp_path)


@pytest.mark.parametrize("file", shipped_configs("predictors*"), ids=config_name)
def test_shipped_configurations_fit_together_and_survive_their_file(file, tmp_path):
    config = configs.load(file)
    predictors_run.check(config, sharding.make_mesh(jax.devices()[:1]))
    configs.write(config, tmp_path)
    assert configs.read(tmp_path) == config


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (dict(graph=PHANTOM), "predictors and graph differ in age, cardiomegaly, digit"),
        (dict(model=MorphoConfig(size=8, classes=9)), "differ in digit"),
        (dict(data=Digits(size=16)), "data.size 16 is not the model's 8"),
        (dict(validation=PredictorsValidation(every=3)), "is no multiple of validation.every 3"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_slow(options, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        predictors_run.main(small(tmp_path, **options))
