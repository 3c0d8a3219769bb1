"""Direct inversion: offsets along a trajectory are those that sampling needs to follow it."""

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax.diffusion import ddim
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.editing import direct


def test_steps_and_offsets_follow_any_path():
    draw = np.random.default_rng(0)
    path = jnp.asarray(draw.normal(size=(5, 2, 4, 4, 3)), jnp.float32)
    table = ddim.ddim_table(NoiseSchedule.create(ScheduleConfig()), 4)
    predict = lambda latents, t, step: 0.3 * latents + step
    offsets = direct.offsets(predict, path, table)
    latents = path[-1]
    for i in range(4):
        row = jax.tree.map(lambda x, i=i: x[i], table)
        latents = ddim.prev_step(latents, predict(latents, row.t, row.step), row) + offsets[i]
        np.testing.assert_allclose(latents, path[-2 - i], atol=1e-4)
