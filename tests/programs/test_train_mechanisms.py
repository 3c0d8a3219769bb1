"""`python -m train.mechanisms` leaves a model, how it was fitted, and what it is worth."""

import gzip
import json
import struct

import numpy as np
import pytest

from prism_jax import config as configs
from prism_jax import rng
from prism_jax.data.phantom.equations import Equations
from prism_jax.scm import folder, graphs
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.fitting import FitConfig
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.training.mechanisms import run as mechanisms_run
from prism_jax.training.mechanisms.run import MechanismsRun

ROWS = 5200


@pytest.fixture
def digits(tmp_path):
    """A folder with tables of digits that obey the true equations, and no images."""
    draw = np.random.default_rng(0)
    thickness = np.clip(0.5 + draw.gamma(10, 0.2, ROWS), 0.9, 6.0)
    intensity = np.clip(64 + 191 / (1 + np.exp(-(2 * thickness - 5 + draw.normal(size=ROWS) / 2))), 67, 254)
    rows = (f"{i},{t:.6f},{v:.6f}" for i, (t, v) in enumerate(zip(thickness, intensity, strict=True)))
    (tmp_path / "train-morpho.csv").write_text("\n".join(["index,thickness,intensity", *rows]) + "\n")
    labels = struct.pack(">HBBI", 0, 8, 1, ROWS) + draw.integers(0, 10, ROWS, np.uint8).tobytes()
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return str(tmp_path)


def test_a_run_leaves_a_model_its_losses_and_what_it_is_worth(digits, tmp_path):
    run = MechanismsRun(
        run=str(tmp_path / "run"),
        graph=graphs.morphomnist(),
        morphomnist=digits,
        fit=FitConfig(steps=60, batch_size=64),
        intervals=BootstrapConfig(resamples=50),
    )
    mechanisms_run.main(run)
    assert configs.read(run.run) == run
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [50, 60]
    assert lines[1]["loss"] < lines[0]["loss"]
    report = json.loads((tmp_path / "run" / "validation.json").read_text())
    assert report["subjects"] == {"fitted": 200, "held_out": 5000}
    assert all(row["low"] <= row["value"] <= row["high"] for row in report["nll"].values())
    assert folder.load(tmp_path / "run" / "model").graph == run.graph


def test_mechanisms_before_training_are_further_from_the_phantom_than_its_equations():
    draw = np.random.default_rng(0)
    known = {name: (draw.random(64) < 0.3).astype(np.int32) for name in graphs.phantom().names}
    known["age"] = draw.uniform(30, 50, 64).astype(np.float32)
    model = AttributeModel.create(graphs.phantom(), rng.key(0))
    report = mechanisms_run.measure(model, known, Equations(), BootstrapConfig(resamples=50))
    assert report["gap"]["pacemaker"]["count"] == 64
    assert report["gap"]["cardiomegaly"]["value"] > 0


def test_a_preset_that_is_none_fails_before_data_is_read(tmp_path):
    with pytest.raises(ValueError, match="no phantom preset named 'strnog'"):
        mechanisms_run.main(MechanismsRun(run=str(tmp_path), truth="strnog"))
