"""DPM-Solver++ 2M: steps of diffusers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from prism_jax.diffusion import dpm_solver, sampling
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.models.unet import UNet2DCondition
from prism_jax.weights import pretrained
from tests.jit.test_dpm_solver import make
from tests.reference.conftest import load_trace, shared_folder


def test_timesteps_and_sigmas_agree_with_the_reference():
    trace = load_trace("05_schedulers")
    table = dpm_solver.dpm_table(make(timestep_spacing="linspace"), 20)
    assert table.t.tolist() == trace.meta["dpm_timesteps_20"]
    np.testing.assert_allclose(dpm_solver.sigmas(table.alpha), trace.arrays["dpm_sigmas_20"][:-1], rtol=1e-6)
    assert dpm_solver.dpm_timesteps(ScheduleConfig(), 20).tolist() == trace.meta["sd21_dpm20_timesteps"]


def test_a_guided_trajectory_agrees_with_the_reference():
    arrays = load_trace("05_schedulers").arrays
    folder = shared_folder("reference", "models", "sd21_tiny")
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    unet = pretrained.load(UNet2DCondition, folder / "unet")
    context = jnp.asarray(arrays["dpm_context_uncond_cond"])  # [2, 77, 32], null first
    reference = arrays["sd21_dpm20_latents_per_step"].transpose(0, 2, 3, 1)

    @nnx.jit
    def run(unet, schedule, latents):
        predict_noise = sampling.guided(unet, context[1:], context[:1], 7.5)
        first = jax.tree.map(lambda rows: rows[:5], dpm_solver.dpm_table(schedule, 20))
        return dpm_solver.sample(predict_noise, latents, first)[1][:, 0]

    latents = jnp.asarray(arrays["dpm_init_latents"].transpose(0, 2, 3, 1))
    trajectory = run(unet, NoiseSchedule.create(ScheduleConfig.from_dict(config)), latents)
    np.testing.assert_allclose(trajectory, reference[:5], atol=3e-5)
