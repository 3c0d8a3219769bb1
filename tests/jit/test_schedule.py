"""The schedule agrees with diffusers, and its conversions are each other's inverses."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.diffusion import schedule as schedule_lib
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig

# Stable Diffusion 1.5's own file, less the keys that name libraries.
SD15_PNDM = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def draw(seed, shape=(3, 4, 4, 2)):
    return jax.random.normal(jax.random.key(seed), shape)


def test_trailing_and_linspace_start_at_the_last_timestep():
    config = ScheduleConfig(timestep_spacing="trailing")
    assert schedule_lib.timesteps(config, 10).tolist() == list(range(999, 0, -100))
    assert schedule_lib.timesteps(config, 7).tolist() == [999, 856, 713, 570, 428, 285, 142]
    even = ScheduleConfig(timestep_spacing="linspace")
    assert schedule_lib.timesteps(even, 4).tolist() == [999, 666, 333, 0]


@pytest.mark.parametrize("steps", [0, -3, 1001, 2.5, True])
def test_steps_that_do_not_divide_the_schedule_are_refused(steps):
    with pytest.raises(ValueError, match="steps is"):
        schedule_lib.timesteps(ScheduleConfig(), steps)


def test_an_offset_that_leaves_the_schedule_is_refused():
    assert schedule_lib.timesteps(ScheduleConfig(steps_offset=0), 1000)[0] == 999
    with pytest.raises(ValueError, match="use fewer steps"):
        schedule_lib.timesteps(ScheduleConfig(steps_offset=1), 1000)


def test_keys_a_file_leaves_out_take_the_defaults_of_diffusers():
    config = ScheduleConfig.from_dict({**BETAS, "_class_name": "DDIMScheduler", "clip_sample": False})
    assert (config.steps_offset, config.set_alpha_to_one, config.prediction_type) == (0, True, "epsilon")
    assert not ScheduleConfig.from_dict({**BETAS, "_class_name": "EulerDiscreteScheduler"}).set_alpha_to_one


def test_a_written_config_reads_back_equal():
    config = ScheduleConfig(prediction_type="v_prediction", steps_offset=0, set_alpha_to_one=True)
    assert ScheduleConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "change",
    [
        {"beta_schedule": "squaredcos_cap_v2"},
        {"prediction_type": "sample"},
        {"timestep_spacing": "karras"},
        {"trained_betas": [0.1, 0.2]},
        {"clip_sample": True},
        {"thresholding": True},
        {"rescale_betas_zero_snr": True},
        {"beta_start": 0.0},
        {"num_train_timesteps": 1},
    ],
)
def test_a_setting_that_changes_results_and_is_not_supported_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change)).split("_")[0]):
        ScheduleConfig.from_dict(SD15_PNDM | change)


def test_a_ddim_file_without_clip_sample_is_refused_because_diffusers_would_clip():
    with pytest.raises(ValueError, match="clip_sample"):
        ScheduleConfig.from_dict({**BETAS, "_class_name": "DDIMScheduler"})


def test_a_file_of_another_kind_of_model_is_refused():
    with pytest.raises(ValueError, match="lacks beta_start, beta_end, beta_schedule"):
        ScheduleConfig.from_dict({"_class_name": "FlowMatchEulerDiscreteScheduler"})


@pytest.mark.parametrize("prediction_type", schedule_lib.PREDICTION_TYPES)
def test_the_training_target_converts_back_to_noise_and_clean_latents(prediction_type):
    schedule = NoiseSchedule.create(ScheduleConfig(prediction_type=prediction_type))
    latents, noise, t = draw(0), draw(1), jnp.array([20, 400, 800])
    noisy = schedule_lib.add_noise(schedule, latents, noise, t)
    output = schedule_lib.training_target(schedule, latents, noise, t)
    alpha = schedule.alphas_cumprod[t]
    eps = schedule_lib.to_epsilon(output, noisy, alpha, prediction_type)
    clean = schedule_lib.to_clean(output, noisy, alpha, prediction_type)
    np.testing.assert_allclose(eps, noise, atol=5e-6)
    np.testing.assert_allclose(clean, latents, atol=5e-6)


def test_linear_betas_are_linear():
    config = ScheduleConfig(beta_schedule="linear", beta_start=1e-4, beta_end=0.02)
    alphas = np.asarray(NoiseSchedule.create(config).alphas_cumprod, np.float64)
    betas = 1 - np.concatenate([alphas[:1], alphas[1:] / alphas[:-1]])
    np.testing.assert_allclose(betas, np.linspace(1e-4, 0.02, 1000), atol=2e-7)


def test_the_schedule_passes_through_jit_with_its_config():
    schedule = NoiseSchedule.create(ScheduleConfig(set_alpha_to_one=True))
    returned = jax.jit(lambda s: s)(schedule)
    assert returned.config == schedule.config
    assert float(returned.final_alpha_cumprod) == 1.0
