"""Noise schedules of diffusers."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.diffusion import schedule as schedule_lib
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from tests.jit.test_schedule import SD15_PNDM
from tests.reference.conftest import load_trace, shared_folder


def nhwc(array):
    return jnp.asarray(array.transpose(0, 2, 3, 1))


def test_alphas_agree_with_the_reference():
    trace = load_trace("05_schedulers")
    schedule = NoiseSchedule.create(ScheduleConfig())
    np.testing.assert_allclose(schedule.alphas_cumprod, trace.arrays["alphas_cumprod"], rtol=2e-7)
    assert float(schedule.final_alpha_cumprod) == pytest.approx(trace.meta["final_alpha_cumprod"], rel=1e-7)
    assert schedule.alphas_cumprod.dtype == schedule.final_alpha_cumprod.dtype == jnp.float32


@pytest.mark.parametrize("steps", [10, 20, 50])
def test_leading_timesteps_agree_with_the_reference(steps):
    meta = load_trace("05_schedulers").meta
    shifted, plain = ScheduleConfig(), ScheduleConfig(steps_offset=0)
    assert schedule_lib.timesteps(shifted, steps).tolist() == meta[f"ddim_timesteps_{steps}"]
    assert schedule_lib.timesteps(plain, steps).tolist() == meta[f"ddim_timesteps_{steps}_steps_offset0"]


def test_scheduler_files_in_the_wild_load():
    assert ScheduleConfig.from_dict(SD15_PNDM) == ScheduleConfig()
    for name, prediction in (("sd15_tiny", "epsilon"), ("sd21_tiny", "v_prediction")):
        file = shared_folder("reference", "models", name, "scheduler", "scheduler_config.json")
        expected = ScheduleConfig(prediction_type=prediction)
        assert ScheduleConfig.from_dict(json.loads(file.read_text())) == expected


def test_training_quantities_agree_with_the_reference():
    arrays = load_trace("05_schedulers").arrays
    schedule, t = NoiseSchedule.create(ScheduleConfig()), jnp.asarray(arrays["train_t"])
    latents, noise = nhwc(arrays["train_x0"]), nhwc(arrays["train_noise"])
    noisy = schedule_lib.add_noise(schedule, latents, noise, t)
    velocity = schedule_lib.velocity(schedule, latents, noise, t)
    np.testing.assert_allclose(noisy, nhwc(arrays["train_add_noise"]), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(velocity, nhwc(arrays["train_v_target"]), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(schedule_lib.snr(schedule, t), arrays["train_snr"], rtol=1e-6)
