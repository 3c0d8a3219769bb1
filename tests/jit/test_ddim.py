"""DDIM agrees with diffusers and NullInversion step by step, and its two directions undo each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.diffusion import ddim
from prism_jax.diffusion import schedule as schedule_lib
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig

SHAPE = (2, 4, 4, 3)


def make(**options):
    return NoiseSchedule.create(ScheduleConfig(**options))


def draw(seed):
    return jax.random.normal(jax.random.key(seed), SHAPE)


def row_at(table, t):
    (index,) = np.flatnonzero(np.asarray(table.t) == t)
    return jax.tree.map(lambda rows: rows[index], table)


def assert_equals(actual, expected):
    """Equal to 1e-6 of the array's scale: the scheduler tolerance of the reference."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * float(jnp.abs(expected).max()))


def test_the_cleanest_row_ends_at_the_final_alpha():
    for schedule in (make(), make(set_alpha_to_one=True)):
        table = ddim.ddim_table(schedule, 10)
        assert table.alpha_prev[-1] == schedule.final_alpha_cumprod
        np.testing.assert_array_equal(table.alpha_prev[:-1], table.alpha[1:])


@pytest.mark.parametrize("prediction_type", schedule_lib.PREDICTION_TYPES)
def test_the_inverse_step_undoes_the_step_on_the_same_output(prediction_type):
    table = ddim.ddim_table(make(prediction_type=prediction_type), 10)
    latents, output = draw(0), draw(1)
    for t in (901, 401, 1):
        row = row_at(table, t)
        assert_equals(ddim.next_step(ddim.prev_step(latents, output, row), output, row), latents)


def test_epsilon_and_velocity_of_the_same_noise_give_the_same_step():
    schedule, clean, noise = make(), draw(0), draw(1)
    as_eps = row_at(ddim.ddim_table(schedule, 10), 401)
    as_v = row_at(ddim.ddim_table(make(prediction_type="v_prediction"), 10), 401)
    latents = schedule_lib.add_noise(schedule, clean, noise, as_eps.t)
    velocity = schedule_lib.velocity(schedule, clean, noise, as_eps.t)
    assert_equals(ddim.prev_step(latents, velocity, as_v), ddim.prev_step(latents, noise, as_eps))
    before = ddim.prev_step(latents, noise, as_eps)
    assert_equals(ddim.next_step(before, velocity, as_v), latents)


@pytest.mark.parametrize("prediction_type", schedule_lib.PREDICTION_TYPES)
def test_a_perfect_prediction_samples_the_clean_latents_from_any_noise(prediction_type):
    schedule, clean = make(prediction_type=prediction_type, set_alpha_to_one=True), draw(0)

    def predict(latents, t, step):
        alpha = schedule.alphas_cumprod[t]
        eps = (latents - jnp.sqrt(alpha) * clean) / jnp.sqrt(1 - alpha)
        return eps if prediction_type == "epsilon" else jnp.sqrt(alpha) * eps - jnp.sqrt(1 - alpha) * clean

    sampled, trajectory = ddim.sample(predict, draw(1), ddim.ddim_table(schedule, 10))
    np.testing.assert_allclose(sampled, clean, atol=1e-5)
    np.testing.assert_array_equal(trajectory[-1], sampled)


@pytest.mark.parametrize("prediction_type", schedule_lib.PREDICTION_TYPES)
def test_sampling_walks_an_inversion_back(prediction_type):
    """With a prediction that does not depend on the latents DDIM inversion is exact; it differs by step."""
    table, start = ddim.ddim_table(make(prediction_type=prediction_type), 10), draw(0)
    outputs = jax.random.normal(jax.random.key(1), (10, *SHAPE))
    trajectory = ddim.invert(lambda latents, t, step: outputs[step], start, table)
    sampled, back = ddim.sample(lambda latents, t, step: outputs[step], trajectory[-1], table)
    np.testing.assert_array_equal(trajectory[0], start)
    np.testing.assert_allclose(sampled, start, atol=1e-5)
    np.testing.assert_allclose(back[::-1], trajectory[:-1], atol=1e-5)


def test_the_network_is_asked_at_the_noisier_timestep_of_each_inversion_step():
    table = ddim.ddim_table(make(), 10)

    def predict(latents, t, step):
        return jnp.full_like(latents, t.astype(jnp.float32))

    trajectory = ddim.invert(predict, jnp.zeros(SHAPE), table)
    first = ddim.next_step(jnp.zeros(SHAPE), jnp.full(SHAPE, 1.0), row_at(table, 1))
    assert_equals(trajectory[1], first)
    assert_equals(trajectory[2], ddim.next_step(first, jnp.full(SHAPE, 101.0), row_at(table, 101)))
