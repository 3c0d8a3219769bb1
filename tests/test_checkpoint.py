"""A checkpoint comes back bit for bit, on any devices; a failed or damaged one never stands in for a good one."""

import resource
import shutil
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prism_jax import sharding
from prism_jax.checkpoint import Checkpoints
from train import state as states


def make_state(seed: int = 0, side: int = 64) -> states.TrainState:
    params = {"layers": {0: {"kernel": jax.random.normal(jax.random.key(seed), (side, side))}}}
    return states.create(params, optax.adam(1e-3), ema=True)


def shapes_on(devices, state):
    everywhere = sharding.replicated(sharding.make_mesh(devices))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), state)


@contextmanager
def full_disk(bytes_left: int):
    """Writing more than so many bytes into one file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("position", [{"position": 7, "nested": {"a": [1, 2]}}, b"\x00\xff grain"])
def test_state_and_iterator_come_back_bit_for_bit_on_any_devices(tmp_path, position):
    state = make_state()
    Checkpoints(tmp_path).save(3, state, position)
    for devices in (jax.devices()[:1], jax.devices()):
        found, found_position = Checkpoints(tmp_path).restore(3, shapes_on(devices, state))
        assert jax.tree.structure(found) == jax.tree.structure(state)
        jax.tree.map(np.testing.assert_array_equal, found, state)
        assert found.params["layers"][0]["kernel"].sharding.num_devices == len(devices)
        assert found_position == position


def test_only_the_newest_checkpoints_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        checkpoints.save(step, make_state(), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_a_full_disk_leaves_the_checkpoint_before_as_the_latest(tmp_path):
    checkpoints, state = Checkpoints(tmp_path), make_state()
    checkpoints.save(1, state, {"position": 1})
    with full_disk(2048), pytest.raises(OSError, match="no room to save checkpoint 2"):
        checkpoints.save(2, make_state(seed=1), {"position": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    found, position = Checkpoints(tmp_path).restore(1, shapes_on(None, state))
    jax.tree.map(np.testing.assert_array_equal, found, state)
    assert position == {"position": 1}
    checkpoints.save(2, state, {})
    assert checkpoints.latest() == 2


def test_a_disk_known_to_be_too_small_is_not_written_to(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(OSError, match="no room to save checkpoint 1"):
        checkpoints.save(1, make_state(), {})
    assert list(tmp_path.iterdir()) == []


def test_an_incomplete_newest_checkpoint_is_skipped_and_can_be_made_again(tmp_path, capsys):
    Checkpoints(tmp_path).save(1, make_state(), {})
    (tmp_path / "2").mkdir()
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest() == 1
    assert "2 is not a complete checkpoint" in capsys.readouterr().err
    checkpoints.save(2, make_state(), {})
    assert Checkpoints(tmp_path).latest() == 2


def test_a_checkpoint_of_other_shapes_is_refused_by_name(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, make_state(), {})
    with pytest.raises(ValueError, match=r"layers\.0\.kernel is \(64, 64\) there and \(32, 32\) here"):
        checkpoints.restore(1, shapes_on(None, make_state(side=32)))
    without = make_state().replace(ema=None)
    with pytest.raises(ValueError, match=r"ema\.layers\.0\.kernel is \(64, 64\) there and absent here"):
        checkpoints.restore(1, shapes_on(None, without))


def test_a_damaged_checkpoint_is_one_clear_error(tmp_path):
    checkpoints, state = Checkpoints(tmp_path), make_state()
    checkpoints.save(1, state, {})
    for path in (tmp_path / "1" / "state").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.unlink()
    with pytest.raises(ValueError, match="is damaged; remove that folder"):
        checkpoints.restore(1, shapes_on(None, state))


def test_raw_restore_gives_plain_dicts(tmp_path):
    state = make_state()
    Checkpoints(tmp_path).save(1, state, {})
    raw = Checkpoints(tmp_path).restore_raw(1)
    np.testing.assert_array_equal(raw["ema"]["layers"]["0"]["kernel"], jnp.asarray(state.ema["layers"][0]["kernel"]))
