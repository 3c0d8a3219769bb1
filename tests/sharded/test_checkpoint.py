"""A checkpoint written by any number of devices is read bit for bit by any other number."""

import jax
import numpy as np
import pytest

from prism_jax.checkpoint import Checkpoints
from tests.jit.test_checkpoint import make_state, save, shapes_on


@pytest.mark.parametrize("position", [{"position": 7, "nested": {"a": [1, 2]}}, b"\x00\xff grain"])
def test_state_and_iterator_come_back_bit_for_bit_on_any_devices(tmp_path, position):
    state = make_state()
    save(tmp_path, 3, state, position)
    for devices in (jax.devices()[:1], jax.devices()):
        found, found_position = Checkpoints(tmp_path).restore(3, shapes_on(devices, state))
        assert jax.tree.structure(found) == jax.tree.structure(state)
        jax.tree.map(np.testing.assert_array_equal, found, state)
        assert found.params["layers"][0]["kernel"].sharding.num_devices == len(devices)
        assert found_position == position
