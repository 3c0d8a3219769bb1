"""Images generated from captions compared with real images: measures, and resuming without generating again."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from prism_jax import rng
from prism_jax.classifier import Classifier
from prism_jax.data.loading import pipeline
from prism_jax.evaluation import sampling
from prism_jax.evaluation.generation import run as generation_run
from prism_jax.evaluation.generation import tables
from prism_jax.evaluation.generation.run import GenerationRun
from prism_jax.evaluation.sampling import Samples
from prism_jax.metrics.distribution import DistributionConfig
from prism_jax.metrics.memorisation import Memorisation
from prism_jax.models.convnext import ConvNeXt
from prism_jax.stats.intervals import BootstrapConfig
from tests import tiny_configs
from tests.build_dataset import build
from tests.conftest import untrained

QUICK = DistributionConfig(k=2, groups=4, bootstrap=BootstrapConfig(resamples=50))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Phantoms of 32 pixels and an untrained judge."""
    folder = tmp_path_factory.mktemp("generation")
    build("phantom", None, folder / "set", preset="balanced", size=32, train=24, val=8, test=12)
    judge = Classifier.of(untrained(ConvNeXt, tiny_configs.convnext()), targets=("effusion", "sex", "view"), size=32)
    judge.save_pretrained(folder / "judge")
    return folder


@pytest.fixture
def config(folder, tmp_path) -> GenerationRun:
    return GenerationRun(
        run=str(tmp_path / "run"),
        model=str(folder / "model"),
        data=str(folder / "set"),
        judge=str(folder / "judge"),
        count=6,
        samples=Samples(steps=2, batch_size=4),
        distribution=QUICK,
        batch_size=8,
        shown=2,
    )


def test_a_run_measures_its_samples_and_makes_none_twice(config, folder, tiny_sd, monkeypatch):
    if not (folder / "model").exists():
        tiny_sd.save_pretrained(folder / "model")
    generation_run.main(config)
    run = Path(config.run)
    assert len(list((run / "images").iterdir())) == 6
    first = json.loads((run / "metrics.json").read_text())
    assert [table["title"] for table in first] == [
        "Distance from the real images",
        "Agreement with captions",
        "Memorisation of training images",
    ]
    assert "nearest to a training image" in (run / "report.html").read_text()
    monkeypatch.setattr(type(tiny_sd), "sample", None)
    generation_run.main(config)
    assert json.loads((run / "metrics.json").read_text()) == first
    with pytest.raises(ValueError, match="images with another samples"):
        generation_run.main(dataclasses.replace(config, samples=Samples(steps=3)))


@pytest.mark.nightly
def test_a_sample_does_not_depend_on_its_batch(folder, tiny_sd, tmp_path):
    prompts, key = ["a chest", "a heart", "a lung"], rng.key(0)
    for batch_size in (1, 2):
        config = Samples(steps=2, batch_size=batch_size)
        sampling.sample(tiny_sd, prompts, config, key, tmp_path / str(batch_size))
    one, two = ([file.read_bytes() for file in sorted((tmp_path / name).iterdir())] for name in ("1", "2"))
    assert one == two


def test_real_images_as_samples_have_no_distance_and_training_images_are_copies(config, folder):
    judge = Classifier.from_pretrained(config.judge)
    held, train = (pipeline.open_split(config.data, split) for split in ("test", "train"))
    seen = [tables.evaluated(judge, split, tables.read(split, 32, "pad", 8), 8, "") for split in (held, train)]
    same = tables.distances(seen[0], seen[0], seen[1], QUICK)
    assert same.rows[1][1].value == pytest.approx(0, abs=1e-6)
    assert same.rows[1][5].value == same.rows[1][6].value == pytest.approx(1)  # density and coverage aside
    others = dataclasses.replace(seen[1].features, patients=np.array([f"new {i}" for i in range(len(train))]))
    copied = Memorisation.of(generated=others, held_out=seen[0].features, training=seen[1].features)
    table = tables.memorisation(copied, QUICK.bootstrap)
    assert [cell.value for cell in table.rows[0][1:]] == [1.0, 1.0]


def test_what_cannot_be_measured_is_refused_before_anything_slow(config):
    with pytest.raises(ValueError, match="distances need more than"):
        generation_run.check(dataclasses.replace(config, count=2))
    with pytest.raises(ValueError, match="no split 'later'"):
        generation_run.check(dataclasses.replace(config, split="later"))
