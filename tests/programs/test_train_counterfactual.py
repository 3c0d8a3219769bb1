"""Counterfactual training moves the image mechanism alone, keeps to its limit, and resumes after a stop."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import config as configs
from prism_jax import rng
from prism_jax.models.hvae import HVAE
from prism_jax.models.predictors import MorphoConfig, MorphoPredictor
from prism_jax.scm import folder, graphs, observed
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.observed import Digits
from prism_jax.training import state as states
from prism_jax.training.image_mechanism import counterfactual_run, counterfactual_validation
from prism_jax.training.image_mechanism.counterfactual_run import CounterfactualFinetuneRun
from prism_jax.training.image_mechanism.counterfactual_step import CounterfactualObjective
from prism_jax.training.image_mechanism.validation import ImageMechanismValidation
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig
from prism_jax.weights import hvae, predictors
from tests import tiny_configs
from tests.conftest import config_name, shipped_configs, untrained

GRAPH = graphs.morphomnist()
LEAST = dict(encoder="8b1d8,1b1", decoder="1b1,8b1", widths=(4, 8), block="light", parents=GRAPH.width)
MEDIATED = tiny_configs.hvae(**LEAST, conditional_prior=True)
FROM = "image", "mechanisms", "predictors"


def judge():
    """Predictors with the moments of before training: drawn ones would put out what they see, or be no variances."""
    network = untrained(MorphoPredictor, MorphoConfig(size=8, width=1))
    for part in (network.thickness, network.intensity, network.digit):
        for norm in (*part.norms, part.norm):
            norm.mean[...], norm.var[...] = jnp.zeros_like(norm.mean[...]), jnp.ones_like(norm.var[...])
    return network


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with the folders of the three models."""
    root = tmp_path_factory.mktemp("models")
    hvae.save(untrained(HVAE, MEDIATED), root / "image")
    predictors.save(judge(), root / "predictors")
    for name in ("image", "predictors"):
        configs.write(GRAPH, root / name / "graph")
    folder.save(AttributeModel.create(GRAPH, rng.key(0)), root / "mechanisms")
    return root


@pytest.fixture(scope="module")
def data():
    draw, n = np.random.default_rng(0), 16
    attributes = {
        "thickness": draw.uniform(1, 6, n).astype(np.float32),
        "intensity": draw.uniform(70, 250, n).astype(np.float32),
        "digit": draw.integers(0, 10, n).astype(np.int32),
    }
    return observed.of_columns(draw.integers(0, 256, (n, 8, 8, 1), np.uint8), attributes, np.arange(n), GRAPH)


def small(run, models, **options):
    return CounterfactualFinetuneRun(
        **dict(
            run=str(run),
            **{name: str(models / name) for name in FROM},
            data=Digits(size=8),
            objective=CounterfactualObjective(targets="soft"),
            shift=1,
            optimizer=OptimizerConfig(peak=1e-3, warmup=0, decay="constant", b1=0.9, b2=0.9, clip=350.0),
            skip=states.SkipConfig(spike_factor=float("inf"), max_grad_norm=1e9),
            batch_size=8,
            loop=LoopConfig(steps=4, log_every=1, checkpoint_every=2, keep=2, tensorboard=False),
            validation=ImageMechanismValidation(every=2, limit=8, shown=2),
        )
        | options
    )


def test_validation_images_are_each_set_to_a_value_of_another(data):
    drawn = counterfactual_validation.interventions(data, GRAPH, seed=0)
    assert set(drawn["which"]) == {0, 1, 2}
    for name in GRAPH.names:
        np.testing.assert_array_equal(np.sort(drawn[f"given {name}"]), np.sort(data.attributes[name]))
        assert (drawn[f"given {name}"] != data.attributes[name]).any()


@pytest.mark.parametrize(("option", "other"), [(a, b) for a in FROM for b in FROM if a != b])
def test_the_folder_of_another_model_is_one_clear_error(option, other, models):
    config = small("nowhere", models, **{option: str(models / other)})
    with pytest.raises(ValueError, match=rf"--{option} .*{other}: .*; give the folder model/ of a run of train\."):
        counterfactual_run.load(config)


def test_models_of_two_graphs_are_refused(models, tmp_path):
    other = shutil.copytree(models / "predictors", tmp_path / "other")
    configs.write(graphs.phantom(), other / "graph")
    with pytest.raises(ValueError, match=r"predictors .* is of another graph than"):
        counterfactual_run.load(small("nowhere", models, predictors=str(other)))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (dict(data=Digits(size=16)), "data.size 16 is not the model's 8"),
        (dict(validation=ImageMechanismValidation(every=3)), "is no multiple of validation.every 3"),
        (dict(batch_size=0), "batch_size 0 does not divide over"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_slow(options, complaint, models):
    with pytest.raises(ValueError, match=complaint):
        counterfactual_run.main(small("nowhere", models, **options))


@pytest.mark.parametrize("file", shipped_configs("counterfactual_finetune*"), ids=config_name)
def test_shipped_configurations_survive_their_file_and_train_at_the_pretraining_weight(file, tmp_path):
    config = configs.load(file)
    configs.write(config, tmp_path)
    assert configs.read(tmp_path) == config
    before = configs.load(file.with_name(file.name.replace("counterfactual_finetune", "image_mechanism")))
    assert config.objective.beta == before.objective.beta
    assert config.image == f"{before.run}/model"
