"""Training of classifiers: what is not known does not count, and a restart changes nothing."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from prism_jax import rng, sharding
from prism_jax.checkpoint import VALIDATION_LOSS
from prism_jax.classifier import Classifier
from prism_jax.data import targets
from prism_jax.data.schema import Attributes
from prism_jax.models.densenet import DenseNetConfig
from prism_jax.training.classifier import (
    augment as classifier_augment,
)
from prism_jax.training.classifier import (
    calibration,
)
from prism_jax.training.classifier import (
    data as classifier_data,
)
from prism_jax.training.classifier import (
    step as classifier_step,
)
from prism_jax.training.classifier.augment import Augmentation, augment
from prism_jax.training.classifier.run import ClassifierRun, ClassifierValidation, train
from prism_jax.training.examples import Data, ExtraDataset
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig
from tests import tiny_configs
from tests.build_dataset import build

COUNT = 40
STILL = Augmentation(shift=0, rotation=0, contrast=0, brightness=0)
TARGETS = ("edema", "sex", "view")
KNOWN = [
    Attributes(age=60.0, sex="M", view="AP Supine", findings={"edema": True, "mass": None}),
    Attributes(view="LATERAL", findings={"edema": False}),
    Attributes(age=40.0, sex="F", view="PA"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of 16 pixels, brighter with an edema; every fifth is not known to have one or not."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built") / "set"
    rows = ["path,patient,sex,age,view,swollen"]
    for i in range(COUNT):
        Image.fromarray(np.full((16, 16), 100 + 60 * (i % 2) + i, np.uint8)).save(source / f"{i}.png")
        said = "" if i % 5 == 4 else ("no", "yes")[i % 2]
        rows.append(f"{i}.png,{i},{'MF'[i // 2 % 2]},{40 + i},{('AP', 'PA')[i // 4 % 2]},{said}")
    (source / "metadata.csv").write_text("\n".join(rows) + "\n")
    build("folder", source, out, flags=("swollen=edema",), findings_column=None, fractions=(0.6, 0.2, 0.2))
    return str(out)


def config(folder, run, *, steps=4, **options) -> ClassifierRun:
    return ClassifierRun(
        **dict(
            run=str(run),
            network=dataclasses.replace(tiny_configs.densenet(), block_config=(1,)),
            augmentation=STILL,
            data=Data(folder=folder, size=16),
            size=16,
            batch_size=8,
            optimizer=OptimizerConfig(peak=1e-2, warmup=0, decay="constant"),
            loop=LoopConfig(steps=steps, log_every=1, checkpoint_every=2, tensorboard=False),
            validation=ClassifierValidation(every=2),
        )
        | options
    )


def lines(run, name):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record[name] for record in records if name in record]


@pytest.fixture(scope="module")
def one_device():
    return sharding.make_mesh(jax.devices()[:1])


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory, one_device):
    """A run and its classifier."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    return run, train(config(folder, run), one_device)


def test_a_stream_goes_on_where_it_was(folder):
    data = Data(folder=folder, size=16)
    known = classifier_data.known_of(data)
    first, second = (classifier_data.stream(data, TARGETS, known, batch_size=8, seed=0) for _ in range(2))
    next(first)
    second.set_state(first.get_state())
    jax.tree.map(np.testing.assert_array_equal, next(first), next(second))


def test_the_folder_holds_the_classifier_and_what_it_measures(trained):
    run, found = trained
    read = Classifier.from_pretrained(run / "model")
    jax.tree.map(np.testing.assert_array_equal, read, found)
    assert (read.targets, read.size, read.predicts_age) == (TARGETS, 16, True)
    report = json.loads((run / "test.json").read_text())
    assert report.keys() == {*TARGETS, "age"}
    assert 0 < report["edema"]["auroc"]["count"] <= report["sex"]["auroc"]["count"]
    assert len(lines(run, VALIDATION_LOSS)) == 2


def test_a_folder_of_another_training_is_refused(folder, trained, one_device):
    run, _ = trained
    with pytest.raises(ValueError, match="holds a training with seed 0, not 1; use another --run"):
        train(config(folder, run, seed=1), one_device)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(targets=("edema", "mass")), r"no yes and no of the targets mass; it has edema, sex, view"),
        (dict(size=32), r"size 32 is larger than data\.size 16"),
        (dict(batch_size=0), "does not divide over"),
        (dict(network=DenseNetConfig.torchxrayvision()), r"network\.norm batch is for published weights"),
        (dict(validation=ClassifierValidation(test_split="held")), "no split 'held'"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_training(folder, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        train(config(folder, tmp_path, **options), sharding.make_mesh())
    assert not (tmp_path / "checkpoints").exists()


def test_targets_are_read_from_attributes_and_what_nobody_said_is_not_known():
    nan = np.nan
    np.testing.assert_array_equal(targets.values(KNOWN, TARGETS), [[1, 1, 1], [0, nan, nan], [nan, 0, 0]])
    np.testing.assert_array_equal(targets.ages(KNOWN), [60, nan, 40])
    assert targets.available(KNOWN) == TARGETS
    assert targets.state_of("support lines", Attributes(findings={"support_lines": True})) is True


def test_labels_that_are_not_known_move_nothing():
    labels = jnp.array([[1.0, jnp.nan], [0.0, 1.0]])
    logits, ones = jnp.array([[0.3, 5.0], [-0.2, 0.1]]), jnp.ones(2)
    loss = partial(classifier_step.label_loss, labels=labels, positive=ones, weight=ones)
    value, slope = jax.jit(jax.value_and_grad(loss))(logits)
    expected = np.mean([np.log1p(np.exp(-0.3)), np.log1p(np.exp(-0.2)), np.log1p(np.exp(-0.1))])
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert slope[0, 1] == 0
    assert np.isfinite(slope).all()
    ages = jax.jit(jax.grad(classifier_step.age_loss))(jnp.zeros(2), jnp.array([jnp.nan, 1.0]), ones)
    np.testing.assert_allclose(ages, [0, -2])


def test_positive_weights_make_both_classes_weigh_the_same():
    labels = np.array([[1, 0], [0, 0], [0, np.nan], [0, 1]], np.float32)
    np.testing.assert_allclose(classifier_data.positive_weights(labels, 10), [3, 2])
    np.testing.assert_allclose(classifier_data.positive_weights(labels, 2), [2, 2])
    np.testing.assert_allclose(classifier_data.positive_weights(labels, 1), [1, 1])


def test_several_data_sets_are_drawn_from_together(folder):
    data = Data(folder=folder, size=16, extra=(ExtraDataset(folder=folder, weight=3.0),))
    stream = classifier_data.stream(data, TARGETS, classifier_data.known_of(data), batch_size=8, seed=0)
    batch = next(stream)
    assert batch["image"].shape == (8, 16, 16, 1)
    assert batch["labels"].shape == (8, 3)
    assert stream.get_state() == {"step": 1}


def keys(name):
    return rng.per_example(rng.stream(rng.key(0), name), jnp.arange(2, dtype=jnp.uint32))


def test_augmentation_is_a_small_move_and_none_if_all_is_zero():
    images = jnp.broadcast_to(jnp.linspace(-1, 1, 16)[None, :, None, None], (2, 16, 16, 1))
    np.testing.assert_array_equal(augment(images, keys, STILL), images)
    moved = jax.jit(lambda x: augment(x, keys, dataclasses.replace(STILL, shift=0.1)))(images)
    assert 0 < float(np.max(np.abs(moved - images))) <= 0.1 * 16 * 2 / 15 + 1e-6
    turned = jax.jit(classifier_augment._moved)(images[0], jnp.array([0.0, 0.0, jnp.pi / 2]))
    np.testing.assert_allclose(turned[..., 0], np.rot90(images[0, ..., 0], -1), atol=1e-4)
    greys = jax.jit(lambda x: augment(x, keys, dataclasses.replace(STILL, contrast=0.5, brightness=0.5)))(images)
    assert 0 < float(np.max(np.abs(greys))) <= 1
    with pytest.raises(ValueError, match=r"augmentation\.shift 0\.7 must lie between 0 and 0\.5"):
        Augmentation(shift=0.7)


def test_calibration_undoes_a_known_distortion():
    draw = np.random.default_rng(0)
    true = draw.normal(size=(20000, 1)) * 2
    labels = (draw.random((20000, 1)) < 1 / (1 + np.exp(-true))).astype(float)
    temperature, shift = calibration.calibrated(3 * true + 2, labels, ["edema"], np.ones(1))
    np.testing.assert_allclose([temperature[0], shift[0]], [3, -2 / 3], rtol=0.08)


def test_a_target_with_one_class_only_loses_the_weight_of_its_positives(capsys):
    logits, labels = np.zeros((4, 1)), np.array([[0.0], [0.0], [np.nan], [0.0]])
    temperature, shift = calibration.calibrated(logits, labels, ["edema"], np.array([4.0]))
    np.testing.assert_allclose([temperature[0], shift[0]], [1, -np.log(4)], rtol=1e-6)
    assert "edema is not calibrated" in capsys.readouterr().err


def test_logits_that_tell_nothing_or_the_contrary_keep_a_finite_temperature():
    temperature, _ = calibration.platt(np.array([-1.0, -2, 1, 2]), np.array([1, 1, 0, 0]))
    np.testing.assert_allclose(temperature, np.exp(calibration.LIMIT))


def test_classes_that_are_apart_keep_a_finite_temperature():
    temperature, shift = calibration.platt(np.array([-1.0, -2, 1, 2]), np.array([0, 0, 1, 1]))
    assert 0.05 < temperature < 5
    np.testing.assert_allclose(shift, 0, atol=1e-3)
