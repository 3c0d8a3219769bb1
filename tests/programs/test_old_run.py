"""A run folder of version 0.1, whose config.json names the module train.finetune, loads, exports and resumes."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from prism_jax import config as configs
from prism_jax.cli.main import dispatch
from prism_jax.entrypoint import exit_code
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.training.finetune import pretrain
from prism_jax.training.finetune.run import FinetuneRun
from tests.programs.test_finetune import small, workshop  # noqa: F401

ARCHIVE = Path(__file__).parents[1] / "data" / "run_of_0.1.tar.gz"


@pytest.fixture
def old(workshop, tmp_path, monkeypatch):
    """The current folder: `run`, two steps of training by version 0.1, and the data and the model it started from."""
    pretrain.prepare(small(workshop, tmp_path / "prepared"))
    shutil.copytree(tmp_path / "prepared" / "initial", tmp_path / "model")
    shutil.copytree(workshop / "data", tmp_path / "data")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def test_an_old_run_is_read_exported_and_resumed(old):
    assert json.loads((old / "config.json").read_text())["class"] == "train.finetune:FinetuneRun"
    config = configs.load("run")
    assert isinstance(config, FinetuneRun)
    assert config.loop.steps == 2

    assert exit_code(lambda: dispatch(["export", "--run", "run", "--out", "exported"])) == 0
    before, after = (StableDiffusion.from_pretrained(folder).unet for folder in ("model", "exported"))
    block = lambda unet: unet.mid_block.attentions[0].transformer_blocks[0]
    assert not np.array_equal(block(before).attn2.to_q.kernel[...], block(after).attn2.to_q.kernel[...])
    assert np.array_equal(block(before).attn1.to_q.kernel[...], block(after).attn1.to_q.kernel[...])

    assert exit_code(lambda: dispatch(["train", "finetune", "--config", "run", "--loop.steps", "3"])) == 0
    steps = [json.loads(line)["step"] for line in (old / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]
    assert json.loads((old / "config.json").read_text())["class"] == "FinetuneRun"
