"""DPM-Solver++ 2M agrees with diffusers, and is of second order where DDIM is of first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.diffusion import ddim, dpm_solver
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig


def make(**options):
    return NoiseSchedule.create(ScheduleConfig(**options))


def gaussian_velocity(schedule, mean, spread):
    """The exact v prediction for data that is normal with this mean and spread."""

    def predict(latents, t, step):
        alpha = schedule.alphas_cumprod[t]
        eps = jnp.sqrt(1 - alpha) * (latents - jnp.sqrt(alpha) * mean) / (alpha * spread**2 + 1 - alpha)
        clean = (latents - jnp.sqrt(1 - alpha) * eps) / jnp.sqrt(alpha)
        return jnp.sqrt(alpha) * eps - jnp.sqrt(1 - alpha) * clean

    return predict


def gaussian_flow(latents, alpha, alpha_to, mean, spread):
    """Where the probability flow takes `latents` for such data: it keeps the standard score."""
    score = (latents - jnp.sqrt(alpha) * mean) / jnp.sqrt(alpha * spread**2 + 1 - alpha)
    return jnp.sqrt(alpha_to) * mean + jnp.sqrt(alpha_to * spread**2 + 1 - alpha_to) * score


def test_the_step_is_the_one_of_the_paper():
    """Eq. 4.1 ff. in terms of lambda, in float64, with the outputs of a known function."""
    schedule = make()
    table = dpm_solver.dpm_table(schedule, 6)
    alphas = np.append(np.asarray(table.alpha, np.float64), 1.0)
    a, s = np.sqrt(alphas), np.sqrt(1 - alphas)
    x = np.linspace(-2.0, 2.0, 8).reshape(1, 2, 2, 2)
    _, trajectory = dpm_solver.sample(lambda x, t, step: jnp.cos(x), jnp.asarray(x, jnp.float32), table)
    before = None
    for i in range(6):
        clean = (x - s[i] * np.cos(x)) / a[i]
        estimate, decay = clean, 0.0
        if i < 5:  # the last step is of first order and infinitely long
            step = np.log(a[i + 1] / s[i + 1]) - np.log(a[i] / s[i])
            decay = np.exp(-step)
            if i:
                r = (np.log(a[i] / s[i]) - np.log(a[i - 1] / s[i - 1])) / step
                estimate = (1 + 1 / (2 * r)) * clean - 1 / (2 * r) * before
        x = s[i + 1] / s[i] * x - a[i + 1] * (decay - 1) * estimate
        np.testing.assert_allclose(trajectory[i], x, atol=2e-5)
        before = clean


def test_halving_the_steps_quarters_its_error_and_halves_that_of_ddim():
    schedule = make(prediction_type="v_prediction", timestep_spacing="linspace")
    predict, start = gaussian_velocity(schedule, 1.3, 0.4), jnp.linspace(-2, 2, 9).reshape(1, 3, 3, 1)

    def errors(steps):
        """Of both methods over the same timesteps, from 999 to 100."""
        table, n = dpm_solver.dpm_table(schedule, steps), steps * 9 // 10
        rows = ddim.DDIMTable(table.step[:n], table.t[:n], table.alpha[:n], table.alpha[1 : n + 1], "v_prediction")
        exact = gaussian_flow(start, table.alpha[0], table.alpha[n], 1.3, 0.4)
        second_order = dpm_solver.sample(predict, start, table)[1][n - 1]
        first_order = ddim.sample(predict, start, rows)[0]
        return [float(jnp.abs(found - exact).max()) for found in (second_order, first_order)]

    coarse, fine = errors(10), errors(20)
    assert coarse[0] < 0.2 * coarse[1]
    assert fine[0] < 0.25 * coarse[0]
    assert 0.4 * coarse[1] < fine[1] < 0.6 * coarse[1]


def test_a_perfect_prediction_samples_the_clean_latents():
    schedule, clean = make(), jax.random.normal(jax.random.key(0), (2, 3, 3, 1))

    def predict(latents, t, step):
        alpha = schedule.alphas_cumprod[t]
        return (latents - jnp.sqrt(alpha) * clean) / jnp.sqrt(1 - alpha)

    for steps in (1, 2, 5):
        table = dpm_solver.dpm_table(schedule, steps)
        sampled, _ = dpm_solver.sample(predict, jax.random.normal(jax.random.key(1), clean.shape), table)
        np.testing.assert_allclose(sampled, clean, atol=1e-5)


@pytest.mark.parametrize("spacing", ["leading", "linspace"])
def test_more_steps_than_distinct_timesteps_are_refused(spacing):
    with pytest.raises(ValueError, match="use fewer steps"):
        dpm_solver.dpm_table(make(timestep_spacing=spacing), 1000)
