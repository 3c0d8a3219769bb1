"""`prism export`: what a run trained, as a diffusers folder."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prism_jax import cli
from prism_jax.checkpoint import Checkpoints
from prism_jax.commands import export
from prism_jax.stable_diffusion import StableDiffusion


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
    """Stands in for a model on disk: what `save_pretrained` was called with is kept."""

    unet: nnx.Module
    saved: dict

    def save_pretrained(self, folder, dtype):
        self.saved.update(unet=self.unet, folder=folder, dtype=dtype)


class Layers(nnx.Module):
    """As little as can stand for a network: named and numbered parts."""

    def __init__(self, value: float):
        self.scale = nnx.Param(jnp.full((2,), value))
        self.blocks = nnx.List([nnx.Param(jnp.full((i + 1,), value + i)) for i in range(11)])


def params(network: nnx.Module):
    return nnx.to_pure_dict(nnx.state(network))


@pytest.fixture(scope="module")
def trained() -> Layers:
    return Layers(1.0)


@pytest.fixture
def saved(monkeypatch) -> dict:
    """What would have been written over a model with other weights."""
    saved = {}
    base = Folder(unet=Layers(0.0), saved=saved)
    monkeypatch.setattr(StableDiffusion, "from_pretrained", lambda folder: base)
    return saved


def make_run(folder, network, *, ema) -> None:
    """A run folder with checkpoint 3, whose raw and averaged weights differ."""
    (folder / "base").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model": str(folder / "base")}))
    weights = {"unet": params(network)}
    raw = jax.tree.map(lambda x: x + 1, weights) if ema else weights
    state = {"step": jnp.int32(3), "params": raw, "opt_state": (), "ema": weights if ema else None}
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(3, state, {"at": 3})
    checkpoints.close()


@pytest.mark.parametrize("ema", [True, False])
def test_the_exported_network_is_the_trained_one(ema, tmp_path, saved, trained):
    make_run(tmp_path / "run", trained, ema=ema)
    assert export.run(export.Options(run=tmp_path / "run", out=tmp_path / "out", dtype="bfloat16")) == 0
    jax.tree.map(np.testing.assert_array_equal, params(saved["unet"]), params(trained))
    assert saved["dtype"] == jnp.bfloat16


def test_a_state_spread_over_devices_comes_back_on_one(tmp_path):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(jnp.arange(16.0), jax.NamedSharding(mesh, jax.P("data")))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, {"params": {"unet": spread}, "ema": None}, {"at": 1})
    checkpoints.close()
    _, weights = export.trained_weights(tmp_path, None)
    assert len(weights["unet"].sharding.device_set) == 1
    np.testing.assert_array_equal(weights["unet"], np.arange(16.0))


def test_weights_of_another_shape_are_listed(trained):
    arrays = params(trained) | {"scale": np.zeros(3), "shift": np.zeros(2)}
    with pytest.raises(ValueError, match="differ in unet: scale, shift"):
        export.filled(Layers(0.0), arrays, "unet")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("config.json", "config.json"),
        ("checkpoints", "has no checkpoints"),
        ("base", "give --model"),
    ],
)
def test_an_incomplete_run_is_one_line_and_exit_code_2(broken, said, tmp_path, saved, trained, capsys):
    make_run(tmp_path / "run", trained, ema=False)
    (tmp_path / "run" / broken).rename(tmp_path / "elsewhere")
    with pytest.raises(SystemExit) as stop:
        cli.main(["export", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "out")])
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not saved


def test_a_step_that_was_not_saved_is_refused(tmp_path, saved, trained):
    make_run(tmp_path / "run", trained, ema=False)
    with pytest.raises(ValueError, match="no checkpoint 2; the newest is 3"):
        export.run(export.Options(run=tmp_path / "run", out=tmp_path / "out", step=2))


def test_an_existing_folder_is_not_overwritten(tmp_path, saved):
    with pytest.raises(ValueError, match="exists; choose a new folder"):
        export.run(export.Options(run=tmp_path, out=tmp_path))
