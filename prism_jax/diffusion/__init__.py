"""Diffusion without networks: schedules, samplers, guidance and the training loss as pure functions."""

from prism_jax.diffusion.ddim import DDIMTable, PredictNoise, ddim_table
from prism_jax.diffusion.dpm_solver import DPMTable, dpm_table
from prism_jax.diffusion.losses import denoising_loss
from prism_jax.diffusion.sampling import guided, initial_latents, sample
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig, add_noise, timesteps

__all__ = [
    "DDIMTable",
    "DPMTable",
    "NoiseSchedule",
    "PredictNoise",
    "ScheduleConfig",
    "add_noise",
    "ddim_table",
    "denoising_loss",
    "dpm_table",
    "guided",
    "initial_latents",
    "sample",
    "timesteps",
]
