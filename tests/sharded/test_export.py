"""Export of a state sharded over devices."""

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax.checkpoint import Checkpoints
from prism_jax.cli import export


def test_a_state_spread_over_devices_comes_back_on_one(tmp_path):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(jnp.arange(16.0), jax.NamedSharding(mesh, jax.P("data")))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, {"params": {"unet": spread}, "ema": None}, {"at": 1})
    checkpoints.close()
    _, weights = export.trained_weights(tmp_path, None)
    assert len(weights["unet"].sharding.device_set) == 1
    np.testing.assert_array_equal(weights["unet"], np.arange(16.0))
