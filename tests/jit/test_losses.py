"""The denoising loss of each example: zero for a perfect network, float32 whatever the network computes in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.diffusion import schedule as schedule_lib
from prism_jax.diffusion.losses import denoising_loss
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig

SHAPE = (4, 4, 4, 2)
LATENTS = jax.random.normal(jax.random.key(0), SHAPE)
NOISE = jax.random.normal(jax.random.key(1), SHAPE)
T = jnp.array([1, 300, 700, 999])


def make(prediction_type="epsilon"):
    return NoiseSchedule.create(ScheduleConfig(prediction_type=prediction_type))


def loss_of(predict):
    return denoising_loss(predict, make(), LATENTS, NOISE, T)


@pytest.mark.parametrize("prediction_type", schedule_lib.PREDICTION_TYPES)
def test_a_network_that_knows_the_latents_has_no_loss(prediction_type):
    schedule = make(prediction_type)

    def predict(noisy, t):
        alpha = schedule.alphas_cumprod[t][:, None, None, None]
        eps = (noisy - jnp.sqrt(alpha) * LATENTS) / jnp.sqrt(1 - alpha)
        return eps if prediction_type == "epsilon" else jnp.sqrt(alpha) * eps - jnp.sqrt(1 - alpha) * LATENTS

    losses = denoising_loss(predict, schedule, LATENTS, NOISE, T)
    assert losses.shape == (4,)
    assert float(losses.max()) < 1e-9


def test_predicting_nothing_costs_the_mean_square_of_the_noise():
    losses = loss_of(lambda noisy, t: jnp.zeros_like(noisy))
    np.testing.assert_allclose(losses, np.mean(np.square(NOISE), (1, 2, 3)), rtol=1e-6)


def test_half_precision_networks_get_a_float32_loss():
    assert loss_of(lambda noisy, t: noisy.astype(jnp.bfloat16)).dtype == jnp.float32
