"""The image mechanism trains on any devices and after a stop as in one go, by the published rules."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import config as configs
from prism_jax import sharding
from prism_jax.data import transforms
from prism_jax.data.schema import Attributes, Example
from prism_jax.data.sources.morphomnist import MorphoMnistSplit
from prism_jax.scm import graphs, observations, observed
from prism_jax.scm.elbo import NegativeELBO
from prism_jax.scm.graph import Graph
from prism_jax.scm.observed import Digits
from prism_jax.training import examples, observed_images
from prism_jax.training import state as states
from prism_jax.training.examples import Data
from prism_jax.training.image_mechanism import run as image_mechanism_run
from prism_jax.training.image_mechanism.run import ImageMechanismRun
from prism_jax.training.image_mechanism.validation import ImageMechanismValidation
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig, make_optimizer
from prism_jax.training.trained_weights import trained_weights
from prism_jax.weights import hvae
from tests import tiny_configs
from tests.conftest import config_name, shipped_configs

GRAPH = graphs.phantom()
LEAST = dict(encoder="8b1d8,1b1", decoder="1b1,8b1", widths=(4, 8), block="light", parents=GRAPH.width)


def small(run, **options):
    return ImageMechanismRun(
        **dict(
            run=str(run),
            data=Data(size=8),
            model=tiny_configs.hvae(**LEAST),
            optimizer=OptimizerConfig(peak=1e-2, warmup=0, decay="constant", b1=0.9, b2=0.9, clip=350.0),
            batch_size=8,
            loop=LoopConfig(steps=4, log_every=1, checkpoint_every=2, keep=2, tensorboard=False),
            validation=ImageMechanismValidation(every=2, limit=8, shown=2),
        )
        | options
    )


@pytest.fixture(scope="module")
def data():
    draw = np.random.default_rng(0)
    n = 16
    attributes = {node.name: draw.integers(0, 2, n).astype(np.int32) for node in GRAPH.nodes}
    attributes["age"] = draw.uniform(20, 80, n).astype(np.float32)
    images = draw.integers(0, 256, (n, 8, 8, 1), np.uint8)
    return observed.of_columns(images, attributes, np.arange(n), GRAPH)


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """A run of four steps on one device."""
    run = tmp_path_factory.mktemp("straight")
    image_mechanism_run.train(small(run), data, data, sharding.make_mesh(jax.devices()[:1]))
    return run


def test_a_run_leaves_a_model_its_graph_and_pictures(straight):
    model = hvae.load(straight / "model")
    assert model.config == small(straight).model
    step, best = trained_weights(straight, None, best=True)
    assert json.loads((straight / "model" / "training.json").read_text()) == {"step": step}
    np.testing.assert_array_equal(model.encoder.stem.kernel[...], best["encoder"]["stem"]["kernel"])
    assert isinstance(configs.read(straight / "model" / "graph"), Graph)
    assert (straight / "samples" / "4.png").is_file()


def test_a_run_can_start_from_a_trained_model(straight):
    config = dataclasses.replace(small(straight), initial=str(straight / "model"))
    image_mechanism_run.check(dataclasses.replace(config, initial=None), sharding.make_mesh(jax.devices()[:1]))
    _, best = trained_weights(straight, None, best=True)
    jax.tree.map(np.testing.assert_array_equal, image_mechanism_run.initial(config), best)
    other = dataclasses.replace(config, model=dataclasses.replace(config.model, bottleneck=2))
    with pytest.raises(ValueError, match="differs from the model in bottleneck; make them alike"):
        image_mechanism_run.check(other, sharding.make_mesh(jax.devices()[:1]))


@pytest.mark.parametrize(("norm", "is_skipped"), [(499.0, False), (501.0, True)])
def test_a_gradient_of_so_much_is_left_out(norm, is_skipped):
    update = ImageMechanismRun().skip
    params = {"w": jnp.zeros(1)}
    tx, schedule = make_optimizer(ImageMechanismRun().optimizer, 1000)
    state = states.create(params, tx, ema=True)
    options = dict(tx=tx, schedule=schedule, ema_decay=0.999, skip=update, decay=image_mechanism_run.average_decay)
    _, metrics = states.update(state, jnp.float32(1), {"w": jnp.full(1, norm)}, **options)
    assert bool(metrics["skipped"]) == is_skipped


def test_images_are_shifted_whole_and_black_comes_in():
    images = jnp.full((64, 6, 6, 1), -1.0).at[:, 2:4, 2:4].set(1.0)
    keys = jax.random.split(jax.random.key(0), 64)
    moved = observed_images.random_shift(images, keys, 2)
    np.testing.assert_array_equal(moved.sum((1, 2, 3)), images.sum((1, 2, 3)))
    corners = {tuple(np.argwhere(np.asarray(each[..., 0]) > 0)[0]) for each in moved}
    assert len(corners) > 15  # of 25
    assert observed_images.random_shift(images, keys, 0) is images


def example(number, attributes):
    picture = transforms.encode_png(np.full((16, 16), number, np.uint8))
    return Example(
        id=number, image=picture, height=16, width=16, patient="", path="", subject=-1, attributes=attributes
    )


def test_images_of_which_something_is_not_known_are_left_out(monkeypatch, capsys):
    findings = {"cardiomegaly": True, "effusion": False, "pacemaker": False, "support lines": True}
    known = Attributes(age=60.0, sex="M", view="AP", findings=findings)
    source = [example(i, a) for i, a in enumerate((known, dataclasses.replace(known, age=None), known))]
    monkeypatch.setattr(examples, "open_split", lambda data: source)
    found = observed_images.load(Data(size=8), GRAPH)
    assert "1 of 3 images of data/phantom train left out" in capsys.readouterr().err
    np.testing.assert_array_equal(found.ids, [0, 2])
    np.testing.assert_array_equal(found.images[:, 0, 0, 0], [0, 2])
    np.testing.assert_allclose(found.parents[0], [1, (60 - 54) / 36, 1, 0, 0, 1, 1], rtol=1e-6)
    monkeypatch.setattr(examples, "open_split", lambda data: source[1:2])
    with pytest.raises(ValueError, match="no image of data/phantom train has all of"):
        observed_images.load(Data(size=8), GRAPH)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ({"Pleural Effusion": True}, 1),
        ({"finding": False, "Edema": False}, 0),
        ({"Pleural Effusion": True, "Edema": True}, None),
        ({"finding": False, "Support Devices": True}, None),
        ({"Pleural Effusion": None}, None),
        ({"Pleural Effusion": False}, None),
    ],
)
def test_mimic_takes_effusion_alone_or_no_finding(findings, expected):
    attributes = Attributes(age=50.0, sex="F", race="BLACK/AFRICAN AMERICAN", findings=findings)
    found = observations.observe(attributes, graphs.mimic_cxr())
    assert (found is None) == (expected is None)
    if found is not None:
        assert found == {"age": 50.0, "sex": 1, "race": 2, "finding": expected}


def test_digits_are_padded_and_have_the_parents_of_their_graph(monkeypatch, capsys):
    attributes = {"thickness": np.array([0.87598526]), "intensity": np.array([254.90317]), "digit": np.array([3])}
    part = MorphoMnistSplit(
        images=np.full((1, 28, 28), 255, np.uint8), attributes=attributes, ids=np.array([7]), origin="row 7"
    )
    monkeypatch.setattr(observed.morphomnist, "read", lambda folder, split: part)
    found = observed_images.load(Digits(), graphs.morphomnist())
    assert "row 7" in capsys.readouterr().err
    assert found.images.shape == (1, 32, 32, 1)
    assert found.images[0, 2:-2, 2:-2].min() == 255
    assert found.images.sum() == 255 * 28**2
    np.testing.assert_allclose(found.parents[0], [-1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize("file", shipped_configs("image_mechanism*"), ids=config_name)
def test_shipped_configurations_fit_together_and_survive_their_file(file, tmp_path):
    config = configs.load(file)
    image_mechanism_run.check(dataclasses.replace(config, initial=None), sharding.make_mesh(jax.devices()[:1]))
    configs.write(config, tmp_path)
    assert configs.read(tmp_path) == config


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (dict(model=tiny_configs.hvae(parents=3)), "model.parents 3 are not the 7 channels"),
        (dict(data=Data(size=16)), "data.size 16 is not the model's 8"),
        (dict(validation=ImageMechanismValidation(every=3)), "is no multiple of validation.every 3"),
        (dict(objective=NegativeELBO(parents_only=True)), "posteriors are not trained, and there is no free energy"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_slow(options, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        image_mechanism_run.main(small(tmp_path, **options))
