"""The denoising loss is zero for a perfect network, and weights and masks leave out what they should."""

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


def loss_of(predict, **options):
    return denoising_loss(predict, make(), LATENTS, NOISE, T, **options)


@pytest.mark.parametrize("prediction_type", schedule_lib.PREDICTION_TYPES)
def test_a_network_that_knows_the_latents_has_no_loss(prediction_type):
    schedule = make(prediction_type)

    def predict(noisy, t):
        alpha = schedule.alphas_cumprod[t][:, None, None, None]
        eps = (noisy - jnp.sqrt(alpha) * LATENTS) / jnp.sqrt(1 - alpha)
        return eps if prediction_type == "epsilon" else jnp.sqrt(alpha) * eps - jnp.sqrt(1 - alpha) * LATENTS

    loss, per_example = denoising_loss(predict, schedule, LATENTS, NOISE, T)
    assert float(loss) < 1e-9
    assert per_example.shape == (4,)


def test_predicting_nothing_costs_the_mean_square_of_the_noise():
    loss, per_example = loss_of(lambda noisy, t: jnp.zeros_like(noisy))
    np.testing.assert_allclose(per_example, np.mean(np.square(NOISE), (1, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(loss, np.mean(np.square(NOISE)), rtol=1e-6)


def test_an_example_of_weight_zero_might_as_well_be_missing():
    def half(noisy, t):
        return noisy / 2

    weighted, _ = loss_of(half, weights=jnp.array([1.0, 1.0, 0.0, 1.0]))
    kept = np.array([0, 1, 3])
    without, _ = denoising_loss(half, make(), LATENTS[kept], NOISE[kept], T[kept])
    np.testing.assert_allclose(weighted, without, rtol=1e-6)


def test_a_mask_counts_only_what_it_covers():
    mask = jnp.zeros((4, 4, 4, 1)).at[:, :2].set(1)
    _, masked = loss_of(lambda noisy, t: jnp.zeros_like(noisy), mask=mask)
    np.testing.assert_allclose(masked, np.mean(np.square(NOISE[:, :2]), (1, 2, 3)), rtol=1e-6)


def test_nothing_to_count_gives_zero_loss_and_finite_gradients():
    def loss(scale, **options):
        return loss_of(lambda noisy, t: scale * noisy, **options)[0]

    for options in ({"weights": jnp.zeros(4)}, {"mask": jnp.zeros((4, 4, 4, 1))}):
        value, gradient = jax.value_and_grad(loss)(0.5, **options)
        assert float(value) == 0.0
        assert float(gradient) == 0.0


def test_a_mask_of_fewer_axes_is_refused():
    with pytest.raises(ValueError, match="same number of axes"):
        loss_of(lambda noisy, t: noisy, mask=jnp.ones((4, 4, 4)))


def test_half_precision_networks_get_a_float32_loss():
    loss, per_example = loss_of(lambda noisy, t: noisy.astype(jnp.bfloat16))
    assert loss.dtype == per_example.dtype == jnp.float32
