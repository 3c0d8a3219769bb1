"""Edit-friendly inversion: noise maps are independent and of the schedule's variance."""

import jax.numpy as jnp
import numpy as np

from prism_jax.diffusion import ddim
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.editing import edit_friendly


def test_noise_of_a_path_is_independent_and_of_the_schedules_size():
    draw = np.random.default_rng(0)
    latents, noise = (jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in ((2, 8, 8, 4), (3, 2, 8, 8, 4)))
    table = ddim.ddim_table(NoiseSchedule.create(ScheduleConfig()), 3)
    path = edit_friendly.noisy_path(latents, noise, table)
    np.testing.assert_array_equal(path[0], latents)
    for i, alpha in enumerate(table.alpha):
        found = (path[3 - i] - jnp.sqrt(alpha) * latents) / jnp.sqrt(1 - alpha)
        np.testing.assert_allclose(found, noise[i], atol=1e-4)
