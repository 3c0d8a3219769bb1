"""Published weights and rules of the image mechanism's training."""

import json

import jax.numpy as jnp
import pytest

from prism_jax.training.image_mechanism import run as image_mechanism_run


def test_the_average_is_a_copy_first_and_then_slow(reference):
    expected = json.loads((reference / "scm" / "traces" / "meta.json").read_text())["ema"]
    for update, decay in expected["decay_used_at_update_index"].items():
        # The published code copies the weights once more before it blends them at 101: that decay has no effect.
        wanted = 0.0 if update == "101" else decay
        assert float(image_mechanism_run.average_decay(0.999, jnp.int32(int(update)))) == pytest.approx(
            wanted, abs=1e-6
        )
