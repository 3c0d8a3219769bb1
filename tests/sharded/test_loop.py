"""Training loop: eight devices give the losses of one."""

import jax
import numpy as np

from tests.jit.test_loop import lines, run


def test_eight_devices_give_the_losses_of_one(tmp_path):
    run(tmp_path / "1", devices=jax.devices()[:1])
    run(tmp_path / "8", devices=jax.devices())
    np.testing.assert_allclose(lines(tmp_path / "1"), lines(tmp_path / "8"), rtol=1e-5)
