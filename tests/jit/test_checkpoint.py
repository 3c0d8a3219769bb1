"""A checkpoint comes back bit for bit, on any devices; a failed or damaged one never stands in for a good one."""

import contextlib
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
from prism_jax.training import state as states


def make_state(seed: int = 0, side: int = 64) -> states.TrainState:
    params = {"layers": {0: {"kernel": jax.random.normal(jax.random.key(seed), (side, side))}}}
    return states.create(params, optax.adam(1e-3), ema=True)


def shapes_on(devices, state):
    everywhere = sharding.replicated(sharding.make_mesh(devices))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), state)


def save(folder, step, state, position=None, **options):
    """Saves in a manager of its own, as a run that ends right after does."""
    with contextlib.closing(Checkpoints(folder, **options)) as checkpoints:
        checkpoints.save(step, state, position or {})


def save_and_wait(checkpoints, step, state):
    """Where the disk is full, the one or the other fails."""
    checkpoints.save(step, state, {})
    checkpoints.wait()


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
def test_state_and_iterator_come_back_bit_for_bit(tmp_path, position):
    state = make_state()
    save(tmp_path, 3, state, position)
    found, found_position = Checkpoints(tmp_path).restore(3, shapes_on(jax.devices()[:1], state))
    assert jax.tree.structure(found) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, found, state)
    assert found_position == position


def test_a_reader_leaves_a_save_that_is_under_way_alone(tmp_path):
    writer, state = Checkpoints(tmp_path), make_state(side=512)
    writer.save(1, state, {})
    writer.wait()
    writer.save(2, state, {})
    reader = Checkpoints(tmp_path, is_reader=True)
    assert reader.latest() in (1, 2)
    writer.close()
    assert Checkpoints(tmp_path, is_reader=True).latest() == 2


def test_only_the_newest_checkpoints_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        checkpoints.save(step, make_state(), {})
    checkpoints.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_the_checkpoint_of_the_lowest_validation_loss_stays_as_well(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1, keep_best=1)
    for step, loss in enumerate((0.3, 0.1, None, 0.2), start=1):
        checkpoints.save(step, make_state(), {}, None if loss is None else {"validation_loss": loss})
    checkpoints.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "4"]
    found = Checkpoints(tmp_path)
    assert (found.best(), found.latest()) == (2, 4)


def test_a_state_that_is_overwritten_while_it_is_saved_comes_back_as_it_was(tmp_path):
    state = make_state(side=512)
    before = jax.device_get(state)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state, {})
    jax.jit(lambda state: jax.tree.map(lambda leaf: leaf * 0, state), donate_argnums=0)(state)
    checkpoints.close()
    found, _ = Checkpoints(tmp_path).restore(1, shapes_on(None, before))
    jax.tree.map(np.testing.assert_array_equal, found, before)


def test_a_full_disk_leaves_the_checkpoint_before_as_the_latest(tmp_path):
    checkpoints, state = Checkpoints(tmp_path), make_state()
    checkpoints.save(1, state, {"position": 1})
    checkpoints.wait()
    with full_disk(2048), pytest.raises(OSError, match="no room to save checkpoint 2"):
        save_and_wait(checkpoints, 2, make_state(seed=1))
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
    save(tmp_path, 1, make_state())
    (tmp_path / "2").mkdir()
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest() == 1
    assert "2 is incomplete" in capsys.readouterr().err
    checkpoints.save(2, make_state(), {})
    assert checkpoints.latest() == 2


def test_a_checkpoint_with_any_file_cut_short_is_skipped_for_the_one_before(tmp_path, capsys):
    save(tmp_path, 1, make_state())
    save(tmp_path, 2, make_state())
    files = [path for path in (tmp_path / "2").rglob("*") if path.is_file() and path.stat().st_size]
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert Checkpoints(tmp_path).latest() == 1, path
        assert "warning" in capsys.readouterr().err
        path.write_bytes(whole)
    assert Checkpoints(tmp_path).latest() == 2
    assert len(files) > 5


def test_a_checkpoint_of_other_shapes_is_refused_by_name(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, make_state(), {})
    checkpoints.wait()
    with pytest.raises(ValueError, match=r"layers\.0\.kernel is \(64, 64\) there and \(32, 32\) here"):
        checkpoints.restore(1, shapes_on(None, make_state(side=32)))
    without = make_state().replace(ema=None)
    with pytest.raises(ValueError, match=r"ema\.layers\.0\.kernel is \(64, 64\) there and absent here"):
        checkpoints.restore(1, shapes_on(None, without))


def test_a_damaged_checkpoint_is_one_clear_error(tmp_path):
    checkpoints, state = Checkpoints(tmp_path), make_state()
    checkpoints.save(1, state, {})
    checkpoints.wait()
    for path in (tmp_path / "1" / "state").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.unlink()
    with pytest.raises(ValueError, match="is damaged; remove that folder"):
        checkpoints.restore(1, shapes_on(None, state))


def test_raw_restore_gives_plain_dicts(tmp_path):
    state = make_state()
    save(tmp_path, 1, state)
    raw = Checkpoints(tmp_path).restore_raw(1)
    np.testing.assert_array_equal(raw["ema"]["layers"]["0"]["kernel"], jnp.asarray(state.ema["layers"][0]["kernel"]))


def test_a_reader_of_checkpoints_logs_no_warnings(tmp_path, caplog):
    writer = Checkpoints(tmp_path)
    writer.save(1, {"x": jnp.ones(3)}, {})
    writer.close()
    caplog.clear()
    reader = Checkpoints(tmp_path, is_reader=True)
    assert reader.latest() == 1
    reader.close()
    assert not [record.message for record in caplog.records if record.levelname == "WARNING"]
